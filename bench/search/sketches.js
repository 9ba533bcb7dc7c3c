// Rows that are passed over by their sketches: are neighbors missed by it?
//
//   npm run build && node bench/search/sketches.js STORE TEXT [--queries 1024] [--k 1024] [--batch 1]
//
// TEXT: documents the store has not read. The same index is opened twice: with room for hardly any list, so that every list is read for
// every query and never sketched; and with room for all. A neighbor is missed when only the first finds it. Times
// are of the second, when all lists that are wanted are sketched. JSON on the last line.
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { median, round } from '../common.js';
import { textQueries } from './text-queries.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    queries: { type: 'string', default: '1024' },
    k: { type: 'string', default: '1024' },
    batch: { type: 'string', default: '1' },
  },
});
const [store, text] = positionals;
if (!store || !text) throw new Error('usage: node bench/search/sketches.js STORE TEXT');
const [k, batch] = [Number(options.k), Number(options.batch)];
const { queries, dim, count } = await textQueries(text, { count: Number(options.queries) });
const open = (memoryBytes) =>
  IvfIndex.open({ folder: join(store, 'index'), sources: [], memoryBytes, threads: 2 });

/** All queries, some at a time: their neighbors, the median time and the processor time of a query. */
async function searchAll(index) {
  const times = [];
  const ids = [];
  const cpu = process.cpuUsage();
  for (let first = 0; first + batch <= count; first += batch) {
    const started = performance.now();
    const found = await index.search(queries.slice(first * dim, (first + batch) * dim), { k });
    times.push((performance.now() - started) / batch);
    for (let q = 0; q < batch; q++) ids.push(found.ids.slice(q * k, (q + 1) * k));
  }
  const { user, system } = process.cpuUsage(cpu);
  const cpuMs = (user + system) / 1000 / ids.length;
  return { ids, p50Ms: round(median(times), 3), cpuMs: round(cpuMs, 3) };
}

const small = await open(1);
const whole = await searchAll(small);
await small.close();
const index = await open();
for (let i = 0; i < 3; i++) await searchAll(index);
const sketched = await searchAll(index);
await index.close();
let missed = 0;
for (const [q, ids] of whole.ids.entries()) {
  const found = new Set(sketched.ids[q]);
  for (const id of ids) if (!found.has(id)) missed++;
}
console.log(`${missed} of ${whole.ids.length * k} neighbors missed`);
console.log(
  JSON.stringify({
    store,
    k,
    batch,
    queries: whole.ids.length,
    missed,
    p50Ms: sketched.p50Ms,
    cpuMs: sketched.cpuMs,
  }),
);
