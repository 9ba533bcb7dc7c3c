/**
 * How much of onnxruntime's speed does `model.keys()` keep, and which settings are fastest?
 *
 *     node bench/build/ort-throughput.js [MODEL] [--length 512] [--rounds 5] [--windows 32] [--configs 2x1x1,1x2x1,…] [--ours 2x1,1x2]
 *
 * Raw onnxruntime runs the same truncated graph in bare worker threads, with tokens made up beforehand and results thrown
 * away; a config is workers x threads x batch. Then `model.keys()` reads the same number of windows, with its default settings
 * and those of `--ours` (workers x threads). Rounds alternate through all of them; medians. JSON on the last line.
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { loadModel } from '../../dist/model/load-model.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';

if (isMainThread) await main();
else await rawWorker(workerData);

/** Runs `runs` batches whenever told to. */
async function rawWorker({ path, keyTensor, threads, batch, length, spinning }) {
  const ort = await loadOnnxRuntime();
  const patched = patchGraph(readGraph(path), { expose: { knn_key: keyTensor }, keepOutputs: [] });
  const session = await ort.InferenceSession.create(patched.bytes, {
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: spinning } } },
  });
  const feeds = {};
  for (const { name, shape } of patched.inputs) {
    if (name.startsWith('past')) {
      const dims = shape.map((size, axis) =>
        axis === 0 ? batch : typeof size === 'number' ? size : 0,
      );
      feeds[name] = new ort.Tensor('float32', new Float32Array(0), dims);
      continue;
    }
    const values = new BigInt64Array(batch * length);
    for (let i = 0; i < values.length; i++) {
      if (name === 'attention_mask') values[i] = 1n;
      else values[i] = BigInt(name === 'position_ids' ? i % length : tokenAt(i));
    }
    feeds[name] = new ort.Tensor('int64', values, [batch, length]);
  }
  parentPort.on('message', async (runs) => {
    for (let i = 0; i < runs; i++) await session.run(feeds, ['knn_key']);
    parentPort.postMessage('done');
  });
  parentPort.postMessage('ready');
}

function tokenAt(i) {
  return 1 + ((i * 7919) % 500);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      length: { type: 'string', default: '512' },
      rounds: { type: 'string', default: '5' },
      windows: { type: 'string', default: '32' },
      configs: { type: 'string', default: '1x1x1,1x2x1,1x2x4,2x1x1,2x1x4' },
      ours: { type: 'string', default: '' },
      spinning: { type: 'string', default: '1' },
    },
  });
  const name = positionals[0] ?? 'wiki-mini';
  const length = Number(values.length);
  const windows = Number(values.windows);
  const model = await loadModel(name);
  const { folder, file, keyTensor } = model.info;
  const path = `${folder}/${file}`;

  /** name → runs once through `windows` windows */
  const contestants = new Map();
  for (const config of values.configs.split(',')) {
    const [workers, threads, batch] = config.split('x').map(Number);
    const data = { path, keyTensor, threads, batch, length, spinning: values.spinning };
    const pool = await Promise.all(Array.from({ length: workers }, () => startRaw(data)));
    const runs = Math.max(1, Math.round(windows / workers / batch));
    contestants.set(`raw ${config}`, {
      tokens: runs * workers * batch * length,
      run: () => Promise.all(pool.map((worker) => ask(worker, runs))),
    });
  }
  const texts = Array.from({ length: windows }, (_, w) =>
    Int32Array.from({ length }, (_, i) => tokenAt(w * length + i)),
  );
  const models = [['default', model]];
  for (const setting of values.ours.split(',').filter(Boolean)) {
    const [workers, threads] = setting.split('x').map(Number);
    models.push([setting, await loadModel(name, { workers, threads })]);
  }
  for (const [setting, ours] of models) {
    contestants.set(`keys() ${setting}`, {
      tokens: windows * length,
      run: () => ours.keys(texts),
    });
  }

  const rates = new Map();
  /** Processor seconds say what a setting costs on a machine that others use too. */
  const cpuRates = new Map();
  const note = (map, contestant, rate) =>
    map.set(contestant, [...(map.get(contestant) ?? []), rate]);
  for (let round = -1; round < Number(values.rounds); round++) {
    for (const [contestant, { tokens, run }] of contestants) {
      const start = performance.now();
      const cpu = process.cpuUsage();
      await run();
      const { user, system } = process.cpuUsage(cpu);
      // The first round makes sessions and warms caches.
      if (round < 0) continue;
      note(rates, contestant, (tokens / (performance.now() - start)) * 1000);
      note(cpuRates, contestant, (tokens / (user + system)) * 1e6);
    }
  }
  const medians = mediansOf(rates);
  const cpuMedians = mediansOf(cpuRates);
  for (const [contestant, list] of rates) {
    console.error(
      `${contestant}: ${medians[contestant]} tokens/s, ${cpuMedians[contestant]} per CPU second (${list.map(Math.round).join(' ')})`,
    );
  }
  const best = (prefix) =>
    Math.max(...Object.entries(medians).map(([n, rate]) => (n.startsWith(prefix) ? rate : 0)));
  const share = medians['keys() default'] / best('raw');
  const bestShare = best('keys()') / best('raw');
  console.log(
    JSON.stringify({
      model: name,
      length,
      tokensPerSecond: medians,
      tokensPerCpuSecond: cpuMedians,
      share,
      bestShare,
    }),
  );
  for (const [, ours] of models) await ours.close();
  process.exit();
}

function mediansOf(rates) {
  const middle = (list) => Math.round([...list].sort((a, b) => a - b)[list.length >> 1]);
  return Object.fromEntries([...rates].map(([contestant, list]) => [contestant, middle(list)]));
}

function startRaw(data) {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: data });
  return new Promise((resolve, reject) => {
    worker.once('message', () => resolve(worker));
    worker.once('error', reject);
  });
}

function ask(worker, runs) {
  return new Promise((resolve) => {
    worker.once('message', resolve);
    worker.postMessage(runs);
  });
}
