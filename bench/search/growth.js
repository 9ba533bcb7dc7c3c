// How an indexed store's costs grow with its entries, and what a line through them says of 10⁸.
//
//   npm run build && node bench/search/growth.js STORE TEXT --out FOLDER [--entries 200000,2000000] [--memory 1000000000]
//     [--index-only]
//
// STORE: an indexed store, the largest of the sizes; the others are its first documents, with the keys they have there.
// TEXT: documents to ask with, which it has not read (store.js). Each size is indexed and measured in processes of its own;
// what FOLDER holds from an earlier run is taken as it is (NAME.index.json, NAME.store.json, and `all` for STORE itself,
// whose index is built anew only where all.index.json is missing). Lines are least squares in logarithms:
// cost = a · entries^b. Indexing is told in processor seconds of all cores, by /usr/bin/time, since other work beside it
// hardly changes them; --index-only stops there, so that latencies can be taken later, without that work. What reading costs
// does not depend on the size (docs/results/large-store.md). JSON on the last line.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { DocumentTable } from '../../dist/datastore/document-table.js';
import { Datastore } from '../../dist/index.js';
import { round } from '../common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    entries: { type: 'string', default: '200000,2000000' },
    memory: { type: 'string', default: '1000000000' },
    'index-only': { type: 'boolean' },
  },
});
const [whole, text] = positionals;
if (!whole || !text || !options.out) {
  console.error('usage: node bench/search/growth.js STORE TEXT --out FOLDER');
  process.exit(2);
}
mkdirSync(options.out, { recursive: true });
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const knnlm = here('../../dist/cli/main.js');

/** A store of another's first documents, with the keys they have there. */
async function firstDocuments(store, out, entries) {
  if (existsSync(join(out, 'manifest.json'))) return;
  const from = await Datastore.open(store);
  const table = await DocumentTable.load(store, from.manifest);
  const writer = await DatastoreWriter.open(out, from.header);
  const [{ path, count }] = from.keySources();
  const file = openSync(path, 'r');
  for (let row = 0; table.startOf(row) < Math.min(entries, count); row++) {
    const { start, ...document } = table.at(row);
    const keys = new Uint16Array(document.length * from.keyDim);
    readSync(file, keys, 0, keys.byteLength, start * from.keyDim * keys.BYTES_PER_ELEMENT);
    await writer.beginDocument(document);
    await writer.append(keys, await from.valueRange(start, start + document.length));
    await writer.endDocument();
  }
  await writer.finish(null);
  await from.close();
}

/** The JSON on the last line of a command, with its seconds; kept in the folder under a name. */
function kept(name, args) {
  const path = join(options.out, `${name}.json`);
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const times = join(options.out, `${name}.times`);
  const timed = ['-o', times, '-f', '[%e, %U, %S]', process.execPath, ...args];
  const { status, stdout } = spawnSync('/usr/bin/time', timed, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}`);
  const [wallSeconds, user, system] = JSON.parse(readFileSync(times, 'utf8'));
  const result = {
    ...JSON.parse(stdout.trim().split('\n').at(-1)),
    wallSeconds,
    processorSeconds: round(user + system, 1),
  };
  writeFileSync(path, `${JSON.stringify(result)}\n`);
  return result;
}

const rows = [];
for (const wanted of [...options.entries.split(','), 'all']) {
  const store = wanted === 'all' ? whole : join(options.out, wanted);
  if (wanted !== 'all') await firstDocuments(whole, store, Number(wanted));
  const indexed = kept(`${wanted}.index`, [knnlm, 'index', store, '--json']);
  if (options['index-only']) continue;
  const served = kept(`${wanted}.store`, [
    here('store.js'),
    store,
    text,
    '--memory',
    options.memory,
  ]);
  const about = kept(`${wanted}.info`, [knnlm, 'info', store, '--json']);
  rows.push({
    entries: served.entries,
    lists: indexed.lists,
    probes: served.probes,
    'recall@1024': served.recall,
    'index, wall s': indexed.wallSeconds,
    'index, processor s': indexed.processorSeconds,
    'store without index, bytes': about.bytes.total - about.bytes.index,
    'index, bytes': about.bytes.index,
    'resident, bytes': served.peakResidentBytes,
    'p50, ms': served.p50,
    'p99, ms': served.p99,
    'queries/s': served.queriesPerSecond,
    'change of perplexity, %': served.tuned.changePercent,
  });
}
if (options['index-only']) process.exit();
console.table(rows);

const LARGE = 1e8;
const lines = [
  'index, processor s',
  'store without index, bytes',
  'index, bytes',
  'p50, ms',
  'queries/s',
].map((cost) => {
  const [a, b, deviation] = fitLine(
    rows.map((row) => [Math.log(row.entries), Math.log(row[cost])]),
  );
  return {
    cost,
    a: Math.exp(a).toPrecision(3),
    exponent: round(b, 3),
    'largest deviation, %': round(100 * (Math.exp(deviation) - 1), 0),
    'at 10⁸': Number(Math.exp(a + b * Math.log(LARGE)).toPrecision(3)),
  };
});
console.table(lines);
console.log(JSON.stringify({ rows, lines }));

/** Least squares y = a + b·x over [x, y] points; and the largest |residual|. */
function fitLine(points) {
  const mean = (i) => points.reduce((sum, p) => sum + p[i], 0) / points.length;
  const [mx, my] = [mean(0), mean(1)];
  const b =
    points.reduce((sum, [x, y]) => sum + (x - mx) * (y - my), 0) /
    points.reduce((sum, [x]) => sum + (x - mx) ** 2, 0);
  const a = my - b * mx;
  return [a, b, Math.max(...points.map(([x, y]) => Math.abs(y - a - b * x)))];
}
