// Exact search: one query at a time against the memory's floor, and batches against FAISS IndexFlatL2 on the same keys and
// queries, in turns (A B A B …), medians over the rounds.
//
//   npm run build && node bench/search/exact.js --keys keys.f16 --queries queries.f32 --dim 256
//
// FAISS runs in Python: set KNNLM_PYTHON to one that has faiss-cpu and numpy; without it that side is skipped.
import { spawn, spawnSync } from 'node:child_process';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { describeFile, median, readQueries } from './keys-file.js';
import { readFloor } from './read-floor.js';

const { values } = parseArgs({
  options: {
    keys: { type: 'string' },
    queries: { type: 'string' },
    dim: { type: 'string', default: '256' },
    n: { type: 'string', default: '200000' },
    q: { type: 'string', default: '1024' },
    k: { type: 'string', default: '1024' },
    threads: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '5' },
    batches: { type: 'string', default: '1,16,128,1024' },
    memory: { type: 'string', default: `${2 ** 31}` },
  },
});
if (!values.keys || !values.queries) {
  console.error('Name --keys and --queries: .npy, .f16 or .f32 files.');
  process.exit(2);
}
const [k, threads, rounds] = [Number(values.k), Number(values.threads), Number(values.rounds)];
const keys = describeFile(values.keys, Number(values.dim));
keys.count = Math.min(keys.count, Number(values.n));
const querySource = describeFile(values.queries, keys.dim);
const queries = readQueries(querySource, Number(values.q));
const q = queries.length / keys.dim;
const batches = values.batches.split(',').map(Number);

/** Starts FAISS, or says why not. */
async function startFaiss() {
  const python = process.env.KNNLM_PYTHON ?? 'python3';
  if (spawnSync(python, ['-c', 'import faiss, numpy']).status !== 0) {
    console.error(`FAISS is skipped: ${python} cannot import faiss. Set KNNLM_PYTHON.`);
    return undefined;
  }
  const script = fileURLToPath(new URL('faiss_flat.py', import.meta.url));
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    return JSON.parse((await lines.next()).value);
  };
  const about = await ask({ keys, queries: querySource, n: keys.count, q, k, threads });
  return { about, ask, close: () => child.stdin.end() };
}

const opening = performance.now();
const index = await FlatIndex.open({
  sources: [keys],
  dim: keys.dim,
  threads,
  memoryBytes: Number(values.memory),
});
const openMs = performance.now() - opening;

/** Milliseconds per query of each batch size. Single queries: the median; batches: the total over the queries. */
async function ours(batch) {
  const count = Math.min(q, batch === 1 ? 200 : q);
  const times = [];
  let last;
  for (let first = 0; first < count; first += batch) {
    const some = queries.subarray(first * keys.dim, Math.min(count, first + batch) * keys.dim);
    const start = performance.now();
    last = await index.search(some, { k });
    times.push(performance.now() - start);
  }
  const ms = batch === 1 ? median(times) : times.reduce((a, b) => a + b) / count;
  return { ms, ids: [...last.ids.subarray(-k)] };
}

const faiss = await startFaiss();
const bytes = keys.count * (Math.ceil(keys.dim / 16) * 16 + 8);
const floor = await readFloor(bytes, threads);
const measured = { floor: [] };
let agreement = 1;
for (const batch of batches) await ours(batch); // warm up
let longestStall = 0;
for (let round = 0; round < rounds; round++) {
  measured.floor.push(await floor.measure());
  for (const batch of batches) {
    const delay = monitorEventLoopDelay({ resolution: 1 });
    delay.enable();
    const mine = await ours(batch);
    delay.disable();
    longestStall = Math.max(longestStall, delay.max / 1e6);
    (measured[`knnlm ${batch}`] ??= []).push(mine.ms);
    if (!faiss) continue;
    const count = Math.min(q, batch === 1 ? 50 : q);
    const theirs = await faiss.ask({ batch, count });
    (measured[`faiss ${batch}`] ??= []).push((theirs.seconds * 1000) / count);
    if (batch === 1) continue; // the last query differs
    const set = new Set(theirs.ids);
    agreement = Math.min(agreement, mine.ids.filter((id) => set.has(id)).length / k);
  }
}
const ms = Object.fromEntries(Object.entries(measured).map(([name, all]) => [name, median(all)]));
const report = {
  n: keys.count,
  dim: keys.dim,
  k,
  q,
  threads,
  node: process.version,
  openMs: Math.round(openMs),
  indexMiB: Math.round(index.memoryBytes / 2 ** 20),
  msPerQuery: Object.fromEntries(Object.entries(ms).map(([name, v]) => [name, +v.toFixed(3)])),
  singleOverFloor: +(ms['knnlm 1'] / ms.floor).toFixed(2),
  queriesPerSecond: Object.fromEntries(
    Object.entries(ms)
      .filter(([name]) => name !== 'floor')
      .map(([name, v]) => [name, Math.round(1000 / v)]),
  ),
  fasterThanFaiss: Object.fromEntries(
    batches.map((batch) => [batch, +(ms[`faiss ${batch}`] / ms[`knnlm ${batch}`]).toFixed(2)]),
  ),
  maxEventLoopDelayMs: +longestStall.toFixed(1),
  agreement,
  faiss: faiss?.about,
};
console.table(
  batches.map((batch) => ({
    batch,
    'knnlm ms/query': report.msPerQuery[`knnlm ${batch}`],
    'faiss ms/query': report.msPerQuery[`faiss ${batch}`],
    ratio: report.fasterThanFaiss[batch],
  })),
);
faiss?.close();
await floor.close();
await index.close();
console.log(JSON.stringify(report));
