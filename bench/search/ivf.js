// The inverted file against FAISS's on the same keys and queries: recall, what the misses cost, time, memory, disk, building.
// Engines take turns (A B A B …) at every setting; figures are medians over the rounds.
//
//   npm run build && node bench/search/ivf.js --keys keys.f16 --queries queries.f32 --dim 256 \
//     --values values.u32 --targets targets.u32 --log-probs lp.f32
//
// values: the token stored with each key; targets and log-probs: each query's true token and its log-probability by the model
// alone. With them the cost of approximate search is told in nats: the mean |Δ log p_kNN| where both are finite, and of the
// mixture (λ = 0.7, T = a seventh of the spread), its mean and its signed mean; perplexity against exact search.
// `--weights 0.25,0,0.5` measures other weights of the lists' spread beside the default.
// `--usearch FOLDER` adds the JavaScript package usearch, installed there. Graph indexes are read 16 times as wide as lists are probed.
// FAISS runs in Python: set KNNLM_PYTHON to one that has faiss-cpu and numpy; without it that side is skipped.
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { readKeys } from '../../dist/indexes/read-keys.js';
import { interpolate, knnLogProbOf } from '../../dist/knnlm/interpolate.js';
import { median, percentile, round } from '../common.js';
import { describeFile, readQueries } from './keys-file.js';
import { startUsearch } from './usearch.js';

const { values: options } = parseArgs({
  options: {
    keys: { type: 'string' },
    queries: { type: 'string' },
    values: { type: 'string' },
    targets: { type: 'string' },
    'log-probs': { type: 'string' },
    dim: { type: 'string', default: '256' },
    n: { type: 'string', default: '400000' },
    q: { type: 'string', default: '512' },
    k: { type: 'string', default: '1024' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    probes: { type: 'string', default: '16,32,64,128' },
    peers: { type: 'string', default: 'SQfp16,PQ64' },
    memory: { type: 'string', default: `${2 ** 31}` },
    usearch: { type: 'string' },
    weights: { type: 'string', default: '0.25' },
  },
});
if (!options.keys || !options.queries) {
  console.error('Name --keys and --queries: .npy, .f16 or .f32 files.');
  process.exit(2);
}
const [k, q, threads] = [options.k, options.q, options.threads].map(Number);
const memoryBytes = Number(options.memory);
const probes = options.probes.split(',').map(Number);
const keys = describeFile(options.keys, Number(options.dim));
keys.count = Math.min(keys.count, Number(options.n));
const n = keys.count;
const querySource = describeFile(options.queries, keys.dim);
/** Queries spread over the file. */
const picks = Array.from({ length: q }, (_, i) => Math.floor((i * querySource.count) / q));
const allQueries = readQueries(querySource, querySource.count);
const queries = new Float32Array(q * keys.dim);
for (const [i, row] of picks.entries()) {
  queries.set(allQueries.subarray(row * keys.dim, (row + 1) * keys.dim), i * keys.dim);
}
const column = (path, Type) => path && new Type(new Uint8Array(readFileSync(path)).buffer);
const values = column(options.values, Uint32Array);
const targets = column(options.targets, Uint32Array);
const logProbs = column(options['log-probs'], Float32Array);
const folder = mkdtempSync(join(tmpdir(), 'knnlm-bench-'));

const truth = await exactNeighbors();
const temperature = spread(truth) / 7;
const [ours, ...otherWeights] = await startOurs();
const engines = [ours, ...otherWeights];
const python = process.env.KNNLM_PYTHON ?? 'python3';
if (spawnSync(python, ['-c', 'import faiss, numpy']).status === 0) {
  for (const peer of options.peers.split(',').filter(Boolean)) {
    const index = peer.startsWith('HNSW') ? peer : `IVF${ours.lists},${peer}`;
    engines.push(await startFaiss(index));
  }
} else console.error(`FAISS is skipped: ${python} cannot import faiss. Set KNNLM_PYTHON.`);

if (options.usearch) {
  const readRows = (first, count) =>
    readKeys(
      [keys],
      keys.dim,
      Int32Array.from({ length: count }, (_, i) => first + i),
    );
  const input = { dim: keys.dim, n, k, q, threads, folder, queries, readRows };
  engines.push(await startUsearch(options.usearch, input));
}

const rows = [];
for (const probe of probes) {
  const measured = engines.map(() => ({ single: [], batch: [] }));
  const found = [];
  for (let r = 0; r < Number(options.rounds); r++) {
    for (const [e, engine] of engines.entries()) {
      const setting = engine.hnsw ? Math.max(k, 16 * probe) : probe;
      found[e] = await engine.batch(setting, measured[e].batch);
      await engine.single(setting, measured[e].single);
    }
  }
  for (const [e, engine] of engines.entries()) {
    const { single, batch } = measured[e];
    rows.push({
      engine: engine.name,
      probes: engine.hnsw ? Math.max(k, 16 * probe) : probe,
      recall: round(recallOf(found[e]), 4),
      ...judge(found[e]),
      p50: round(median(single), 2),
      p99: round(percentile(single, 0.99), 2),
      'queries/s': Math.round(q / (median(batch) / 1000)),
    });
  }
}
const engineRows = engines.map(({ name, buildSeconds, diskBytes, memoryBytes: bytes }) => ({
  engine: name,
  'build s': round(buildSeconds, 1),
  'disk MB': Math.round(diskBytes / 1e6),
  'memory MB': Math.round(bytes / 1e6),
}));
console.table(rows);
console.table(engineRows);
for (const engine of engines) await engine.close();
rmSync(folder, { recursive: true });
console.log(
  JSON.stringify({ n, dim: keys.dim, k, q, threads, node: process.version, rows, engineRows }),
);

async function exactNeighbors() {
  const index = await FlatIndex.open({ sources: [keys], dim: keys.dim, threads, memoryBytes });
  const found = await index.search(queries, { k });
  await index.close();
  return found;
}

function spread({ distances }) {
  return median(picks.map((_, i) => distances[(i + 1) * k - 1] - distances[i * k]));
}

async function startOurs() {
  const started = performance.now();
  const sources = [keys];
  const header = await buildIvf({ folder, sources, dim: keys.dim, threads });
  const buildSeconds = (performance.now() - started) / 1000;
  const index = await IvfIndex.open({ folder, sources, threads, memoryBytes });
  return options.weights.split(',').map((weight, w) => ({
    name: w === 0 ? 'knnlm' : `knnlm, spread × ${weight}`,
    lists: 2 ** Math.round(Math.log2(header.lists)),
    buildSeconds,
    diskBytes: header.file.bytes,
    memoryBytes: index.memoryBytes,
    async batch(probe, times) {
      const start = performance.now();
      const found = await index.search(queries, { k, probes: probe, spreadWeight: Number(weight) });
      times.push(performance.now() - start);
      return found;
    },
    async single(probe, times) {
      for (let i = 0; i < Math.min(q, 200); i++) {
        const query = queries.slice(i * keys.dim, (i + 1) * keys.dim);
        const start = performance.now();
        await index.search(query, { k, probes: probe, spreadWeight: Number(weight) });
        times.push(performance.now() - start);
      }
    },
    close: () => index.close(),
  }));
}

async function startFaiss(index) {
  const script = fileURLToPath(new URL('faiss_ivf.py', import.meta.url));
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    return JSON.parse((await lines.next()).value);
  };
  const about = await ask({
    index,
    keys,
    queries: querySource,
    picks,
    n,
    k,
    threads,
    lists: ours.lists,
  });
  const out = join(folder, 'faiss');
  return {
    name: index,
    hnsw: index.startsWith('HNSW'),
    buildSeconds: about.seconds,
    diskBytes: about.diskBytes,
    memoryBytes: about.memoryBytes,
    async batch(probe, times) {
      const answer = await ask({ batch: q, count: q, probes: probe, out });
      times.push(answer.times[0] * 1000);
      return {
        k,
        ids: column(`${out}.ids`, Int32Array),
        distances: column(`${out}.distances`, Float32Array),
      };
    },
    async single(probe, times) {
      const answer = await ask({ batch: 1, count: Math.min(q, 200), probes: probe });
      times.push(...answer.times.map((seconds) => seconds * 1000));
    },
    close: async () => child.stdin.end(),
  };
}

function recallOf({ ids }) {
  let hits = 0;
  for (let row = 0; row < ids.length; row += k) {
    const near = new Set(truth.ids.subarray(row, row + k));
    for (const id of ids.subarray(row, row + k)) if (near.has(id)) hits++;
  }
  return hits / truth.ids.length;
}

/** What differs from exact search, in nats. */
function judge(found) {
  if (!values || !targets || !logProbs) return {};
  let own = 0;
  let both = 0;
  let mixed = 0;
  let signed = 0;
  for (const [i, row] of picks.entries()) {
    const [a, b] = [found, truth].map(({ ids, distances }) => {
      const some = {
        distances: distances.subarray(i * k, (i + 1) * k),
        values: Array.from(ids.subarray(i * k, (i + 1) * k), (id) => values[Math.max(0, id)]),
      };
      return knnLogProbOf(targets[row], some, temperature);
    });
    if (a > Number.NEGATIVE_INFINITY && b > Number.NEGATIVE_INFINITY) {
      own += Math.abs(a - b);
      both++;
    }
    const difference = interpolate(logProbs[row], a, 0.7) - interpolate(logProbs[row], b, 0.7);
    mixed += Math.abs(difference) / q;
    signed += difference / q;
  }
  return {
    'Δ p_kNN': round(own / Math.max(1, both), 4),
    'Δ mixture': round(mixed, 4),
    signed: round(signed, 4),
    'perplexity %': round(100 * (Math.exp(-signed) - 1), 2),
  };
}
