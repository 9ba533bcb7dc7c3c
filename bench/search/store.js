// An indexed store as it is served, held against exact search of the same store: recall, perplexity, latency, memory.
//
//   npm run build && node bench/search/store.js STORE TEXT [--queries 1024] [--k 1024] [--memory 1000000000]
//     [--rounds 3] [--probes 64,128] [--drop-caches] [--exact-latency] [--keys STORE_WITH_KEYS]
//
// TEXT: documents the store has not read. λ and T are chosen by exact search on every other document; perplexities are of
// the rest, with an interval from resampling its documents. The serving process is one of its own: a model, the store, the
// index with so many bytes of lists; its resident memory is that of everything in it. --drop-caches (Linux, as root) empties the system's
// page cache first and tells how long queries then take. --keys: of a store without keys, the store it was before they were
// dropped, to search exactly. JSON on the last line.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Datastore, openIndex, openKnnLM } from '../../dist/index.js';
import { interpolate, knnLogProbOf } from '../../dist/knnlm/interpolate.js';
import { bootstrapIntervals } from '../../dist/math/bootstrap.js';
import { median, percentile, round } from '../common.js';
import { textQueries } from './text-queries.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    queries: { type: 'string', default: '1024' },
    'max-tokens': { type: 'string', default: '60000' },
    k: { type: 'string', default: '1024' },
    memory: { type: 'string', default: '1000000000' },
    rounds: { type: 'string', default: '3' },
    model: { type: 'string' },
    probes: { type: 'string' },
    'drop-caches': { type: 'boolean' },
    'exact-latency': { type: 'boolean' },
    keys: { type: 'string' },
    serve: { type: 'string' },
  },
});
const [store, text] = positionals;
if (!store || (!text && !options.serve)) {
  console.error('usage: node bench/search/store.js STORE TEXT');
  process.exit(2);
}
const k = Number(options.k);
const dropCaches = () =>
  spawnSync('sh', ['-c', 'sync; echo 3 > /proc/sys/vm/drop_caches']).status === 0;

if (options.serve) await serve(options.serve);
else await compare();

/** The serving process: queries one by one, cold if asked, then warm, then in batches; results beside the queries. */
async function serve(folder) {
  const queries = new Float32Array(readFileSync(join(folder, 'queries.f32')).buffer);
  const cold = options['drop-caches'] && dropCaches();
  const opening = performance.now();
  const memory = await openKnnLM(store, { memoryBytes: Number(options.memory) });
  const openMs = performance.now() - opening;
  const { index } = memory.retriever;
  if (options.probes) index.settings = { ...index.settings, probes: Number(options.probes) };
  const dim = memory.model.info.keyDim;
  const count = queries.length / dim;
  const one = async (i) => {
    const started = performance.now();
    await memory.retriever.retrieve(queries.slice(i * dim, (i + 1) * dim), { k });
    return performance.now() - started;
  };
  const times = async (n) => {
    const all = [];
    for (let i = 0; i < n; i++) all.push(await one(Math.floor((i * count) / n)));
    return all;
  };
  const coldMs = cold ? await times(Math.min(128, count)) : undefined;
  await times(count); // fills the caches
  const warm = [];
  const rates = [];
  let found;
  for (let r = 0; r < Number(options.rounds); r++) {
    const ms = await times(count);
    warm.push([median(ms), percentile(ms, 0.99)]);
    const started = performance.now();
    found = await memory.retriever.retrieve(queries, { k });
    rates.push(count / ((performance.now() - started) / 1e3));
  }
  for (const name of ['ids', 'distances', 'values']) {
    writeFileSync(join(folder, `found.${name}`), new Uint8Array(found[name].buffer));
  }
  const status = readFileSync('/proc/self/status', 'utf8');
  const peak = Number(/VmHWM:\s+(\d+)/.exec(status)?.[1] ?? 0) * 1024;
  writeFileSync(
    join(folder, 'serving.json'),
    JSON.stringify({
      kind: index.kind,
      probes: index.settings?.probes,
      openMs: round(openMs, 0),
      listBytes: index.memoryBytes,
      peakResidentBytes: peak || process.memoryUsage().rss,
      coldFirstMs: coldMs && round(coldMs[0], 1),
      coldP50: coldMs && round(median(coldMs), 2),
      coldP99: coldMs && round(percentile(coldMs, 0.99), 2),
      p50: round(median(warm.map(([p50]) => p50)), 2),
      p99: round(median(warm.map(([, p99]) => p99)), 2),
      queriesPerSecond: Math.round(median(rates)),
      settings: memory.settings(),
    }),
  );
  await memory.close();
}

async function compare() {
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-store-'));
  try {
    const asked = await textQueries(text, {
      model: options.model,
      count: Number(options.queries),
      maxTokens: Number(options['max-tokens']),
    });
    writeFileSync(join(folder, 'queries.f32'), new Uint8Array(asked.queries.buffer));
    const { exact, exactP50, entries } = await exactNeighbors(asked);
    const trials = options.probes?.split(',') ?? [undefined];
    const reports = trials.map((probes) => {
      const { serving, found } = served(folder, probes);
      const quality = compareNeighbors(asked, { found, exact, settings: serving.settings });
      return { store, entries, k, queries: asked.count, ...serving, exactP50, ...quality };
    });
    for (const report of reports) {
      console.table(Object.entries(report).filter(([, value]) => typeof value !== 'object'));
    }
    console.log(JSON.stringify(reports.length === 1 ? reports[0] : reports));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs the serving process. */
function served(folder, probes) {
  const args = [fileURLToPath(import.meta.url), store, '--serve', folder];
  for (const name of ['memory', 'rounds', 'k']) args.push(`--${name}`, options[name]);
  if (probes) args.push('--probes', probes);
  if (options['drop-caches']) args.push('--drop-caches');
  const { status } = spawnSync(process.execPath, args, { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`the serving process ended with ${status}`);
  const read = (name, Type) => new Type(readFileSync(join(folder, `found.${name}`)).buffer);
  return {
    serving: JSON.parse(readFileSync(join(folder, 'serving.json'), 'utf8')),
    found: {
      ids: read('ids', Int32Array),
      distances: read('distances', Float32Array),
      values: read('values', Uint32Array),
    },
  };
}

/** Exact neighbors of all queries, in one pass; for a latency, the codes are kept in memory. */
async function exactNeighbors({ queries, dim, count }) {
  const datastore = await Datastore.open(options.keys ?? store);
  const index = await openIndex({
    sources: datastore.keySources(),
    dim,
    memoryBytes: options['exact-latency'] ? 2 ** 35 : 0,
  });
  try {
    const found = await index.search(queries, { k, exclude: datastore.excludedRanges() });
    const values = await datastore.values(found.ids);
    let exactP50;
    if (options['exact-latency']) {
      const ms = [];
      for (let i = 0; i < Math.min(64, count); i++) {
        const started = performance.now();
        await index.search(queries.slice(i * dim, (i + 1) * dim), { k });
        ms.push(performance.now() - started);
      }
      exactP50 = round(median(ms), 2);
    }
    return { exact: { ...found, values }, exactP50, entries: datastore.entries };
  } finally {
    await index.close();
    await datastore.close();
  }
}

/** Recall, and the mixture's perplexity by both searches: as the store is set, and with λ and T chosen by exact search. */
function compareNeighbors({ targets, logProbs, units: parts, count }, { found, exact, settings }) {
  let hits = 0;
  for (let q = 0; q < count; q++) {
    const truth = new Set(exact.ids.subarray(q * k, (q + 1) * k));
    for (let i = q * k; i < (q + 1) * k; i++)
      if (found.ids[i] >= 0 && truth.has(found.ids[i])) hits++;
  }
  const row = ({ distances, values }, q, most = k) => ({
    distances: distances.subarray(q * k, q * k + most),
    values: values.subarray(q * k, q * k + most),
  });
  const nll = (neighbors, q, { lambda, temperature, k: most }) =>
    -interpolate(
      logProbs[q],
      knnLogProbOf(targets[q], row(neighbors, q, most), temperature),
      lambda,
    );
  const rows = Array.from({ length: count }, (_, q) => q);
  const perplexity = (neighbors, of, setting) =>
    Math.exp(of.reduce((sum, q) => sum + nll(neighbors, q, setting), 0) / of.length);
  const chosenOn = rows.filter((q) => parts[q] % 2 === 0);
  const reportedOn = rows.filter((q) => parts[q] % 2 === 1);
  const grid = [0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7].flatMap((lambda) =>
    [2, 3, 4, 6, 8, 11, 16, 22].map((temperature) => ({ lambda, temperature })),
  );
  const scores = grid.map((setting) => perplexity(exact, chosenOn, setting));
  const tuned = grid[scores.indexOf(Math.min(...scores))];
  const change = (setting) => {
    const units = new Map();
    let moved = 0;
    for (const q of reportedOn) {
      const sums = units.get(parts[q]) ?? [0, 0, 0];
      const [a, b] = [nll(found, q, setting), nll(exact, q, setting)];
      moved += Math.abs(a - b) / reportedOn.length;
      units.set(parts[q], [sums[0] + a, sums[1] + b, sums[2] + 1]);
    }
    const ratio = ([a, b, n]) => Math.exp((a - b) / n) - 1;
    const [interval] = bootstrapIntervals([...units.values()], [ratio]);
    return {
      ...setting,
      exact: round(perplexity(exact, reportedOn, setting), 4),
      index: round(perplexity(found, reportedOn, setting), 4),
      changePercent: round(
        100 * (perplexity(found, reportedOn, setting) / perplexity(exact, reportedOn, setting) - 1),
        3,
      ),
      intervalPercent: interval.map((x) => round(100 * x, 3)),
      meanAbsoluteNats: round(moved, 5),
    };
  };
  const alone = reportedOn.reduce((sum, q) => sum - logProbs[q], 0) / reportedOn.length;
  return {
    recall: round(hits / (count * k), 4),
    reported: reportedOn.length,
    perplexityOfModel: round(Math.exp(alone), 4),
    tuned: change(tuned),
    asSet: change({ lambda: settings.lambda, temperature: settings.temperature, k: settings.k }),
  };
}
