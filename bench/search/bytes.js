// How many bytes an entry needs: perplexity of the mixture, recall and |Δ log p| by the size of the codes, with the codes' own
// distances (no key is read), against exact search over the stored keys.
//
//   npm run build && node bench/search/bytes.js STORE TEXT [--queries 4096] [--k 1024] [--codes pq32,pq64x4,…]
//     [--model FOLDER] [--max-error 0.005] [--folder DIR] [--ask FILE]
//
// STORE: with keys; it is not changed, indexes go to a folder of their own. TEXT: documents the store has not read. Every
// codec searches the same lists, as many as 8-bit codes need for the error asked for. λ and T are chosen on every other
// document; perplexities are of the rest, with an interval from resampling its documents (or windows, where documents are few):
// once with the settings chosen with exact search, once with those chosen with the codes. JSON on the last line.
//
// With --ask the queries are written to FILE.f32 and FILE.json instead, for codes_faiss.py: the same table of faiss' codes.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Datastore, openIndex } from '../../dist/index.js';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { parseCodec } from '../../dist/indexes/ivf/codec.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { transcodeIvf } from '../../dist/indexes/ivf/transcode-ivf.js';
import { recallOf, tuneIvf } from '../../dist/indexes/ivf/tune-ivf.js';
import { indexJudge } from '../../dist/knnlm/index-judge.js';
import { interpolate, knnLogProbOf } from '../../dist/knnlm/interpolate.js';
import { bootstrapIntervals } from '../../dist/math/bootstrap.js';
import { round } from '../common.js';
import { textQueries } from './text-queries.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    queries: { type: 'string', default: '4096' },
    'max-tokens': { type: 'string', default: '60000' },
    k: { type: 'string', default: '1024' },
    codes: {
      type: 'string',
      default: 'pq128,pq64,pq48,pq40,pq32,pq24,pq16,pq128x4,pq80x4,pq64x4,pq48x4,pq32x4',
    },
    'max-error': { type: 'string', default: '0.005' },
    model: { type: 'string' },
    folder: { type: 'string' },
    ask: { type: 'string' },
  },
});
const [store, text] = positionals;
if (!store || !text) {
  console.error('usage: node bench/search/bytes.js STORE TEXT');
  process.exit(2);
}
const k = Number(options.k);
const TEMPERATURES = Array.from({ length: 16 }, (_, i) => round(1.5 * 1.25 ** i, 2));
const LAMBDAS = Array.from({ length: 18 }, (_, i) => round(0.05 * (i + 1), 2));

const asked = await textQueries(text, {
  model: options.model,
  count: Number(options.queries),
  maxTokens: Number(options['max-tokens']),
});
if (options.ask) {
  const { queries, targets, logProbs, units } = asked;
  writeFileSync(`${options.ask}.f32`, new Uint8Array(queries.buffer));
  const facts = { targets: [...targets], logProbs: [...logProbs], units };
  writeFileSync(`${options.ask}.json`, JSON.stringify(facts));
  process.exit();
}
const rows = Array.from({ length: asked.count }, (_, q) => q);
const chosenOn = rows.filter((q) => asked.units[q] % 2 === 0);
const reportedOn = rows.filter((q) => asked.units[q] % 2 === 1);
const datastore = await Datastore.open(store);
const { entries, keyDim: dim } = datastore;
const sources = datastore.keySources();
const folder = mkdtempSync(join(options.folder ?? tmpdir(), 'knnlm-bytes-'));

async function compare() {
  const flat = await openIndex({ sources, dim, memoryBytes: 0 });
  const truth = await search(flat);
  await flat.close();
  const exact = { truth, logs: await knnLogs(truth), best: undefined };
  exact.best = choose(exact.logs);
  const { keys, total } = await datastore.bytes();
  const others = (total - keys) / entries;
  const reports = [
    report('exact', { exact, found: truth, logs: exact.logs, bytes: keys / entries }),
  ];
  console.log(JSON.stringify(reports[0]));
  for (const name of ['sq8', ...options.codes.split(',').filter(Boolean)]) {
    const { found, bytes, seconds } = await coded(name);
    const recall = await recallOf(found, truth);
    const told = report(name, { exact, found, logs: await knnLogs(found), bytes, recall });
    told.storeBytes = round(bytes + others, 2);
    told.seconds = round(seconds, 1);
    reports.push(told);
    console.log(JSON.stringify(told));
  }
  console.table(reports, [
    'codes',
    'codeBytes',
    'storeBytes',
    'recall',
    'samePercent',
    'sameNats',
    'tunedPercent',
    'tunedNats',
  ]);
  const alone = Math.exp(-mean(reportedOn.map((q) => asked.logProbs[q])));
  const facts = { store, entries, dim, k, queries: asked.count, chosenOn: chosenOn.length };
  console.log(
    JSON.stringify({ ...facts, reportedOn: reportedOn.length, alone: round(alone, 4), reports }),
  );
}

let eight;
/** The 8-bit index is built and tuned once; every codec is made of it. */
async function coded(name) {
  const started = performance.now();
  const codec = parseCodec(name, dim);
  eight ??= await built();
  let header = eight;
  if (codec) {
    header = await transcodeIvf({ folder, header: eight, codec, keepOthers: true });
  }
  const seconds = (performance.now() - started) / 1e3;
  const index = await IvfIndex.open({ folder, sources, header });
  const found = await search(index);
  await index.close();
  if (codec) rmSync(join(folder, header.file.name));
  return { found, bytes: header.file.bytes / entries, seconds };
}

async function built() {
  const header = await buildIvf({ folder, sources, dim });
  const index = await IvfIndex.open({ folder, sources, header });
  try {
    const trials = {
      ...(await indexJudge(datastore)),
      folder,
      maxError: Number(options['max-error']),
    };
    const tuned = await tuneIvf(index, trials);
    const { probes } = tuned.header.settings;
    console.error(`${header.lists} lists, ${probes} read, error ${tuned.chosen.error}`);
    return { ...tuned.header, settings: { ...tuned.header.settings, rerank: 0 } };
  } finally {
    await index.close();
  }
}

const search = (index) => index.search(asked.queries, { k, exclude: datastore.excludedRanges() });

/** (temperatures, q) log p_kNN of the true tokens. */
async function knnLogs({ ids, distances }) {
  const values = await datastore.values(ids.map((id) => Math.max(id, 0)));
  return TEMPERATURES.map((temperature) =>
    Float64Array.from(rows, (q) => {
      const row = {
        distances: distances.subarray(q * k, (q + 1) * k),
        values: values.subarray(q * k, (q + 1) * k),
      };
      return knnLogProbOf(asked.targets[q], row, temperature);
    }),
  );
}

const mixed = (logs, q, { t, lambda }) => interpolate(asked.logProbs[q], logs[t][q], lambda);
const mean = (numbers) => numbers.reduce((sum, x) => sum + x, 0) / numbers.length;

/** λ and T of the lowest perplexity on the documents that settings are chosen on. */
function choose(logs) {
  let best = { loss: Number.POSITIVE_INFINITY };
  for (const [t] of TEMPERATURES.entries()) {
    for (const lambda of LAMBDAS) {
      const loss = -mean(chosenOn.map((q) => mixed(logs, q, { t, lambda })));
      if (loss < best.loss) best = { loss, t, lambda };
    }
  }
  return best;
}

function report(codes, { exact, logs, bytes, recall = 1 }) {
  const codec = codes === 'exact' ? undefined : parseCodec(codes, dim);
  const codeBytes = codec
    ? (codec.subquantizers * codec.bits) / 8
    : dim * (codes === 'exact' ? 2 : 1);
  const best = choose(logs);
  const [same, tuned] = [exact.best, best].map((setting) => {
    const change = (q) => mixed(logs, q, setting) - mixed(exact.logs, q, exact.best);
    const units = new Map();
    for (const q of reportedOn) {
      const [sum, n] = units.get(asked.units[q]) ?? [0, 0];
      units.set(asked.units[q], [sum - change(q), n + 1]);
    }
    const percent = ([sum, n]) => 100 * (Math.exp(sum / n) - 1);
    const [interval] = bootstrapIntervals([...units.values()], [percent]);
    return {
      perplexity: round(Math.exp(-mean(reportedOn.map((q) => mixed(logs, q, setting)))), 4),
      percent: round(100 * (Math.exp(-mean(reportedOn.map(change))) - 1), 2),
      interval: interval.map((x) => round(x, 2)),
      nats: round(mean(reportedOn.map((q) => Math.abs(change(q)))), 4),
    };
  });
  return {
    codes,
    codeBytes,
    indexBytes: round(bytes, 2),
    recall: round(recall, 4),
    samePerplexity: same.perplexity,
    samePercent: same.percent,
    sameInterval: same.interval,
    sameNats: same.nats,
    tunedPerplexity: tuned.perplexity,
    tunedPercent: tuned.percent,
    tunedInterval: tuned.interval,
    tunedNats: tuned.nats,
    lambda: best.lambda,
    temperature: TEMPERATURES[best.t],
  };
}

try {
  await compare();
} finally {
  rmSync(folder, { recursive: true });
  await datastore.close();
}
