// How an indexed store's costs grow with its entries, and what a line through them says of 10⁸.
//
//   npm run build && node bench/search/growth.js CORPUS TEXT --out FOLDER [--megabytes 0.75,7.5,66] [--memory 1000000000]
//
// CORPUS: documents to remember, TEXT: others to ask with (store.js). Each size is built, indexed and measured in processes of
// its own; what FOLDER holds from an earlier run is taken as it is (NAME.build.json, NAME.index.json, NAME.store.json).
// Lines are least squares in logarithms: cost = a · entries^b. JSON on the last line.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { headOfCorpus, round } from '../common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    megabytes: { type: 'string', default: '0.75,7.5,66' },
    memory: { type: 'string', default: '1000000000' },
  },
});
const [corpus, text] = positionals;
if (!corpus || !text || !options.out) {
  console.error('usage: node bench/search/growth.js CORPUS TEXT --out FOLDER');
  process.exit(2);
}
mkdirSync(options.out, { recursive: true });
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const knnlm = here('../../dist/cli/main.js');

/** The JSON on the last line of a command; kept in the folder under a name. */
function kept(name, args) {
  const path = join(options.out, `${name}.json`);
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const started = performance.now();
  const { status, stdout } = spawnSync(process.execPath, args, {
    stdio: ['ignore', 'pipe', 'inherit'],
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
  });
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}`);
  const result = {
    ...JSON.parse(stdout.trim().split('\n').at(-1)),
    wallSeconds: round((performance.now() - started) / 1e3, 1),
  };
  writeFileSync(path, `${JSON.stringify(result)}\n`);
  return result;
}

const rows = [];
for (const megabytes of options.megabytes.split(',')) {
  const name = `${megabytes}mb`;
  const store = join(options.out, name);
  const head = join(options.out, `${name}.jsonl`);
  if (!existsSync(head) && !existsSync(`${store}.build.json`)) {
    await headOfCorpus(corpus, Number(megabytes), head);
  }
  const built = kept(`${name}.build`, [
    knnlm,
    'build',
    head,
    '--out',
    store,
    '--index',
    'none',
    '--json',
  ]);
  const indexed = kept(`${name}.index`, [knnlm, 'index', store, '--json']);
  const served = kept(`${name}.store`, [here('store.js'), store, text, '--memory', options.memory]);
  rows.push({
    entries: built.entries,
    lists: indexed.lists,
    probes: indexed.settings.probes,
    'recall@1024': served.recall,
    'read and store, s': round(built.seconds, 0),
    'index, s': round(indexed.seconds, 0),
    'keys and text, bytes': built.bytes,
    'index, bytes': indexed.bytes,
    'resident, bytes': served.peakResidentBytes,
    'p50, ms': served.p50,
    'p99, ms': served.p99,
    'queries/s': served.queriesPerSecond,
    'change of perplexity, %': served.tuned.changePercent,
  });
}
console.table(rows);

const LARGE = 1e8;
const lines = [
  'read and store, s',
  'index, s',
  'keys and text, bytes',
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
