// The inverted file against FAISS's on the same keys and queries: recall, what the misses cost, time, memory, disk, building.
// Engines take turns (A B A B …) at every setting; figures are medians over the rounds.
//
//   npm run build && node bench/search/ivf.js --data PREFIX [--n 2000000] [--probes 16,32,64,128] [--peers SQfp16,PQ64,HNSW32,Flat]
//
// PREFIX names files that real-keys.js wrote; --keys and --queries name others (.npy, .f16, .f32), without tokens.
// Of tokens the cost of approximate search is told in nats: the mean |Δ log p_kNN| where both are finite, and of the
// mixture (λ = 0.7, T = a seventh of the spread), its mean and its signed mean; perplexity against exact search.
// The floor is the time in which both threads only read the bytes that a query reads, at the bandwidth they reach over as many
// bytes as the index has. Figures at equal recall and at an equal error of the mixture are interpolated between settings, in logarithms.
// `--weights 0.25,0,0.5` measures other weights of the lists' spread beside the default; `--exact` this project's exact search.
// `--usearch FOLDER` adds the JavaScript package usearch, installed there. Graph indexes are searched with `--widths`.
// `--folder DIR` keeps what was built, for a later run; `--rounds 0` only builds.
// FAISS runs in Python: set KNNLM_PYTHON to one that has faiss-cpu and numpy; without it that side is skipped.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { readKeys } from '../../dist/indexes/read-keys.js';
import { interpolate, knnLogProbOf } from '../../dist/knnlm/interpolate.js';
import { median, percentile, round } from '../common.js';
import { startFaiss, startFlat, startIvf } from './engines.js';
import { describeFile, readQueries } from './keys-file.js';
import { readFloor } from './read-floor.js';
import { startUsearch } from './usearch.js';

const { values: options } = parseArgs({
  options: {
    data: { type: 'string' },
    keys: { type: 'string' },
    queries: { type: 'string' },
    dim: { type: 'string', default: '256' },
    n: { type: 'string', default: '400000' },
    q: { type: 'string', default: '512' },
    k: { type: 'string', default: '1024' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '3' },
    probes: { type: 'string', default: '16,32,64,128' },
    widths: { type: 'string', default: '1024,2048' },
    peers: { type: 'string', default: 'SQfp16,PQ64' },
    memory: { type: 'string', default: `${2 ** 32}` },
    recalls: { type: 'string', default: '0.92,0.98' },
    errors: { type: 'string', default: '0.005' },
    usearch: { type: 'string' },
    exact: { type: 'boolean' },
    folder: { type: 'string' },
    weights: { type: 'string', default: '0.25' },
  },
});
const { data } = options;
const keysPath = options.keys ?? (data && `${data}.keys.f16`);
const queriesPath = options.queries ?? (data && `${data}.queries.f32`);
if (!keysPath || !queriesPath) {
  console.error('Name --data, or --keys and --queries: .npy, .f16 or .f32 files.');
  process.exit(2);
}
const numbers = (list) => list.split(',').map(Number);
const [k, q, threads, rounds] = [options.k, options.q, options.threads, options.rounds].map(Number);
const keys = describeFile(keysPath, Number(options.dim));
keys.count = Math.min(keys.count, Number(options.n));
const n = keys.count;
const { dim } = keys;
const querySource = describeFile(queriesPath, dim);
/** Queries spread over the file. */
const picks = Array.from({ length: q }, (_, i) => Math.floor((i * querySource.count) / q));
const allQueries = readQueries(querySource, querySource.count);
const queries = new Float32Array(q * dim);
for (const [i, row] of picks.entries()) {
  queries.set(allQueries.subarray(row * dim, (row + 1) * dim), i * dim);
}
const column = (suffix, Type) => {
  const path = `${data}.${suffix}`;
  return existsSync(path) ? new Type(new Uint8Array(readFileSync(path)).buffer) : undefined;
};
const values = column('values.u32', Uint32Array);
const targets = column('targets.u32', Uint32Array);
const logProbs = column('log-probs.f32', Float32Array);
const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'knnlm-bench-'));
mkdirSync(folder, { recursive: true });
const python = process.env.KNNLM_PYTHON ?? 'python3';
const input = {
  ...{ keys, dim, n, q, k, threads, queries, querySource, picks, folder, python },
  memoryBytes: Number(options.memory),
  probes: numbers(options.probes),
  widths: numbers(options.widths),
  weights: numbers(options.weights),
};

const truth = await exactNeighbors();
const temperature = median(picks.map((_, i) => spreadOf(i))) / 7;
const engines = await startEngines();
const measured = engines.map(({ settings }) => settings.map(() => ({ single: [], batch: [] })));
if (rounds > 0) await takeTurns(1, () => ({ single: [], batch: [] })); // warms caches and compilers
await takeTurns(rounds, (e, s) => measured[e][s]);
const { gigabytesPerSecond, floorOf } = await measureFloor();
const rows = engines.flatMap((engine, e) =>
  rounds > 0 ? engine.settings.map((_, s) => rowOf(engine, e, s)) : [],
);
const engineRows = engines.map(({ name, buildSeconds, diskBytes, memoryBytes }) => ({
  engine: name,
  'build s': round(buildSeconds, 1),
  'disk MB': Math.round(diskBytes / 1e6),
  'memory MB': Math.round(memoryBytes / 1e6),
}));
const equal = [
  ...numbers(options.recalls).flatMap((recall) =>
    costsAt(1 - recall, `recall ${recall}`, (row) => 1 - row.recall),
  ),
  ...numbers(options.errors).flatMap((error) =>
    costsAt(error, `Δ mixture ${error}`, (row) => row['Δ mixture']),
  ),
];
console.table(rows);
console.table(engineRows);
console.table(equal);
for (const engine of engines) await engine.close();
if (!options.folder) rmSync(folder, { recursive: true });
const facts = { keys: keysPath, n, dim, k, q, threads, rounds, node: process.version };
console.log(JSON.stringify({ ...facts, gigabytesPerSecond, rows, engineRows, equal }));

async function startEngines() {
  const started = await startIvf(input);
  if (options.exact) started.push(await startFlat(input));
  if (spawnSync(python, ['-c', 'import faiss, numpy']).status === 0) {
    const { lists } = started[0];
    for (const peer of options.peers.split(',').filter(Boolean)) {
      const index = /^(HNSW|Flat)/.test(peer) ? peer : `IVF${lists},${peer}`;
      started.push(await startFaiss(index, { ...input, lists }));
    }
  } else console.error(`FAISS is skipped: ${python} cannot import faiss. Set KNNLM_PYTHON.`);
  if (options.usearch) {
    const idsFrom = (first, count) => Int32Array.from({ length: count }, (_, i) => first + i);
    const readRows = (first, count) => readKeys([keys], dim, idsFrom(first, count));
    started.push(await startUsearch(options.usearch, { ...input, readRows }));
  }
  return started;
}

/** Every engine at every setting, one after the other. */
async function takeTurns(times, placeOf) {
  const most = Math.max(...engines.map(({ settings }) => settings.length));
  for (let r = 0; r < times; r++) {
    for (let s = 0; s < most; s++) {
      for (const [e, engine] of engines.entries()) {
        if (s >= engine.settings.length) continue;
        const place = placeOf(e, s);
        place.found = await engine.batch(engine.settings[s], place.batch);
        await engine.single(engine.settings[s], place.single);
      }
    }
  }
}

async function measureFloor() {
  const bytes = engines[0].diskBytes;
  const floor = await readFloor(bytes, threads);
  const ms = await floor.measure();
  await floor.close();
  const floorOf = ({ bytesOf }, setting) => bytesOf && (bytesOf(setting) / bytes) * ms;
  return { gigabytesPerSecond: round(bytes / ms / 1e6, 1), floorOf };
}

function rowOf(engine, e, s) {
  const { single, batch, found } = measured[e][s];
  const floor = floorOf(engine, engine.settings[s]);
  const p50 = median(single);
  return {
    engine: engine.name,
    setting: engine.settings[s],
    recall: round(recallOf(found), 4),
    ...judge(found),
    p50: round(p50, 3),
    p99: round(percentile(single, 0.99), 3),
    'queries/s': Math.round(q / (median(batch) / 1000)),
    ...(floor && { 'floor ms': round(floor, 3), '× floor': round(p50 / floor, 2) }),
  };
}

/** Each engine's cost where its misses are `wanted`, between two of its settings. @param missesOf a row's */
function costsAt(wanted, name, missesOf) {
  return engines.flatMap(({ name: engine }) => {
    const own = rows.filter((row) => row.engine === engine);
    const next = own.findIndex((row) => missesOf(row) <= wanted);
    if (next < 1) return [];
    const [before, after] = [own[next - 1], own[next]];
    const [from, to] = [before, after].map((row) => Math.log(missesOf(row)));
    const share = (Math.log(wanted) - from) / (to - from);
    const between = (cost) =>
      Math.exp((1 - share) * Math.log(before[cost]) + share * Math.log(after[cost]));
    return [
      {
        at: name,
        engine,
        p50: round(between('p50'), 3),
        p99: round(between('p99'), 3),
        'queries/s': Math.round(between('queries/s')),
      },
    ];
  });
}

async function exactNeighbors() {
  const memoryBytes = Number(options.memory);
  const index = await FlatIndex.open({ sources: [keys], dim, threads, memoryBytes });
  const found = await index.search(queries, { k });
  await index.close();
  return found;
}

function spreadOf(i) {
  return truth.distances[(i + 1) * k - 1] - truth.distances[i * k];
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
