// Writes what ivf.js and exact.js compare engines on: keys of built stores with their tokens, and queries from text the stores
// have not read, with their true tokens and the model's own log-probabilities.
//
//   npm run build && node bench/search/real-keys.js PREFIX --stores A.knn,B.knn --texts A.jsonl.gz,B.jsonl.gz [--n 2000000]
//     [--q 2048] [--model FOLDER] [--anisotropic]
//
// Keys are the first of each store, equally many of each. --anisotropic stretches 4 dimensions 12 times and moves all by up to
// 60, keys and queries alike: a few dimensions then hold most of the variance, as in the states of larger models.
// Files: PREFIX.keys.f16, .values.u32, .queries.f32, .targets.u32, .log-probs.f32.
import { closeSync, openSync, writeFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Datastore } from '../../dist/index.js';
import { readKeyBytes } from '../../dist/indexes/read-keys.js';
import { floatsToHalf, halfToFloats } from '../../dist/math/half.js';
import { Random } from '../../dist/math/random.js';
import { round } from '../common.js';
import { textQueries } from './text-queries.js';

const ROWS = 8192;
const STRETCHED = 4;
const STRETCH = 12;
const FARTHEST = 60;

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stores: { type: 'string' },
    texts: { type: 'string' },
    n: { type: 'string', default: '2000000' },
    q: { type: 'string', default: '2048' },
    model: { type: 'string' },
    anisotropic: { type: 'boolean' },
  },
});
const [prefix] = positionals;
if (!prefix || !options.stores || !options.texts) {
  console.error('usage: node bench/search/real-keys.js PREFIX --stores A,B --texts A,B');
  process.exit(2);
}
const stores = options.stores.split(',');
const texts = options.texts.split(',');

const asked = [];
for (const text of texts) {
  const count = Math.ceil(Number(options.q) / texts.length);
  asked.push(await textQueries(text, { model: options.model, count }));
}
const { dim } = asked[0];
const move = options.anisotropic ? stretch(dim) : () => undefined;
const file = (suffix) => `${prefix}.${suffix}`;
const join = (name, Type) => Type.from(asked.flatMap((some) => [...some[name]]));
const queries = join('queries', Float32Array);
move(queries);
writeFileSync(file('queries.f32'), new Uint8Array(queries.buffer));
writeFileSync(file('targets.u32'), new Uint8Array(join('targets', Uint32Array).buffer));
writeFileSync(file('log-probs.f32'), new Uint8Array(join('logProbs', Float32Array).buffer));

const [keys, values] = ['keys.f16', 'values.u32'].map((suffix) => openSync(file(suffix), 'w'));
const sums = new Float64Array(2 * dim);
let n = 0;
for (const store of stores) {
  const datastore = await Datastore.open(store);
  const count = Math.min(datastore.entries, Math.floor(Number(options.n) / stores.length));
  for (let first = 0; first < count; first += ROWS) await copy(datastore, first, count);
  n += count;
  await datastore.close();
}
closeSync(keys);
closeSync(values);
const variances = Array.from({ length: dim }, (_, j) => sums[dim + j] / n - (sums[j] / n) ** 2);
const total = variances.reduce((a, b) => a + b);
const top = variances.sort((a, b) => b - a).slice(0, STRETCHED);
const shareOfTop4 = round(top.reduce((a, b) => a + b) / total, 3);
console.log(JSON.stringify({ n, dim, q: queries.length / dim, shareOfTop4 }));

/** Rows from `first` on, a piece of them. */
async function copy(datastore, first, count) {
  const end = Math.min(count, first + ROWS);
  const halves = new Uint16Array(
    (await readKeyBytes(datastore.keySources(), dim, [first, end])).buffer,
  );
  const rows = new Float32Array(halves.length);
  halfToFloats(rows, halves);
  move(rows);
  for (let i = 0; i < rows.length; i++) {
    sums[i % dim] += rows[i];
    sums[dim + (i % dim)] += rows[i] ** 2;
  }
  floatsToHalf(halves, rows);
  writeSync(keys, new Uint8Array(halves.buffer));
  const { buffer, byteOffset, byteLength } = await datastore.valueRange(first, end);
  writeSync(values, new Uint8Array(buffer, byteOffset, byteLength));
}

/** @returns changes rows of width d in place */
function stretch(d) {
  const random = new Random(1);
  const factors = new Float32Array(d).fill(1);
  for (let i = 0; i < STRETCHED; ) {
    const j = random.below(d);
    if (factors[j] !== 1) continue;
    factors[j] = STRETCH;
    i++;
  }
  const offsets = Float32Array.from({ length: d }, () => (2 * random.uniform() - 1) * FARTHEST);
  return (rows) => {
    for (let i = 0; i < rows.length; i++) rows[i] = rows[i] * factors[i % d] + offsets[i % d];
  };
}
