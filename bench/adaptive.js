/**
 * What are the parts of a tuned mixture worth, and how near does a store come that tunes itself?
 *
 *     node bench/adaptive.js STORES CORPORA TABLES [--domains medical,uscode,techdocs,books] [--tokens 24000] [--documents 40]
 *
 * STORES holds NAME.knn, each self-tuned; CORPORA holds NAME.valid.jsonl.gz, whose documents are cut so that together they give about so
 * many tokens. What memory holds for them is retrieved once and kept in TABLES. Everything is fitted on every second document
 * and measured on the others, both ways; intervals resample documents. Nothing is stored. JSON on the last line.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openKnnLM } from '../dist/index.js';
import { bestLambda } from '../dist/knnlm/best-lambda.js';
import { mostGroups } from '../dist/knnlm/cached-evidence.js';
import { fitGate, nllOf } from '../dist/knnlm/fit-gate.js';
import { EvidenceReader, gateRows } from '../dist/knnlm/gate-rows.js';
import { gainsAt, searchSettings } from '../dist/knnlm/search-settings.js';
import { TargetReader } from '../dist/knnlm/target-reader.js';
import { cacheGains, trainCache } from '../dist/knnlm/train-cache.js';
import { shapeOf, trainGate } from '../dist/knnlm/train-gate.js';
import { Replay, trainSkip } from '../dist/knnlm/train-skip.js';
import { Trust } from '../dist/knnlm/trust.js';
import { bootstrapIntervals } from '../dist/math/bootstrap.js';
import { collected, heldOut, ofUnits } from './collected.js';
import { round } from './common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    domains: { type: 'string', default: 'medical,uscode,techdocs,books' },
    tokens: { type: 'string', default: '24000' },
    documents: { type: 'string', default: '40' },
  },
});
const [stores, corpora, kept] = positionals;
if (!kept) throw new Error('usage: node bench/adaptive.js STORES CORPORA TABLES');
const PARTS = [
  ['gate', { cache: false, pointers: false }],
  ['gate + cache', { cache: true, pointers: false }],
  ['gate + pointers', { cache: false, pointers: true }],
  ['gate + cache + pointers', { cache: true, pointers: true }],
];
const BINS = 16;

const tablesOf = async (domain) => {
  const memory = await openKnnLM(join(stores, `${domain}.knn`));
  try {
    const documents = await heldOut(join(corpora, `${domain}.valid.jsonl.gz`), {
      tokens: Number(options.tokens),
      most: Number(options.documents),
      model: memory.model,
    });
    const tables = await collected(join(kept, `${domain}-${options.tokens}`), memory, documents);
    return { tables, own: memory.datastore.settings, entries: memory.datastore.entries };
  } finally {
    await memory.close();
  }
};

/** Nats of every target under constant settings. */
const constantNll = ({ neighbors }, { k, temperature, lambda }) =>
  gainsAt(neighbors, k, temperature).map(
    (gain, row) => -(neighbors.lm[row] + Math.log1p(lambda * gain)),
  );

/** λ by the distance of the nearest neighbor (Drozdov et al. 2022), in bins of as many targets each. */
function binned(tune, test, { k, temperature }) {
  const nearest = ({ neighbors: { distances, targets, k } }) =>
    Float32Array.from({ length: targets }, (_, row) => distances[row * k]);
  const own = nearest(tune);
  const sorted = own.slice().sort();
  const edges = Array.from(
    { length: BINS - 1 },
    (_, i) => sorted[Math.floor(((i + 1) / BINS) * sorted.length)],
  );
  const binOf = (distance) => edges.filter((edge) => distance >= edge).length;
  const bins = own.map(binOf);
  const gains = gainsAt(tune.neighbors, k, temperature);
  const lambdas = Array.from({ length: BINS }, (_, bin) =>
    bestLambda(gains.filter((_, row) => bins[row] === bin)),
  );
  const away = nearest(test);
  return gainsAt(test.neighbors, k, temperature).map(
    (gain, row) => -(test.neighbors.lm[row] + Math.log1p(lambdas[binOf(away[row])] * gain)),
  );
}

/** As evaluation does it: mixture and model alone are two experts, document by document. */
function trusted({ neighbors: { lm, units } }, nll) {
  let trust = new Trust();
  return nll.map((own, row) => {
    if (units[row] !== units[row - 1]) trust = new Trust();
    return -own === lm[row] ? own : -trust.next(-own, lm[row]);
  });
}

const gatedNll = (tables, gate, k) => {
  const rows = gateRows(tables, { shape: gate, k });
  return trusted(tables, nllOf(gate, rows, [...rows.lm.keys()]));
};

/** Perplexity by the share of the searches that are skipped, on text that nothing was learned from, without the trust of a whole text. */
function skipping(tune, test, { gate, parts, rows }, point) {
  const { k } = point;
  const shape = shapeOf(point, { cache: parts.cache, pointers: true });
  const { skip, always, points } = trainSkip(tune, { gate, shape, k, chosen: rows });
  const { neighbors, evidence } = test;
  const reader = new EvidenceReader(test, k);
  const target = new TargetReader(gate, mostGroups(evidence));
  const replay = new Replay(test, {
    skip,
    k,
    chosen: [...evidence.rows.keys()],
    known: (at, searches) => {
      const lm = neighbors.lm[evidence.rows[at]];
      return -(lm + Math.log(target.ratio(reader.read(at, searches), evidence.targets[at], lm)));
    },
  });
  const free = points.filter(({ perplexity }) => perplexity <= always * 1.001).at(-1);
  return {
    always: replay.run(Number.NEGATIVE_INFINITY).perplexity,
    never: replay.run(Number.POSITIVE_INFINITY).perplexity,
    byDefault: free && replay.run(free.threshold),
    points: [1, 2, 3, 4, 5].map((at) => replay.run(points[at].threshold)),
  };
}

/** Nats of every target of `test`, by method. */
function methods(tune, test, own, withSkip) {
  const point = searchSettings(tune.neighbors).best;
  const constant = constantNll(test, point);
  const cache = trainCache(tune, point);
  const trained = trainGate(tune, { point, allowed: { cache: true, pointers: true } });
  const gates = PARTS.map(([name, parts]) => {
    const rows = gateRows(tune, { shape: shapeOf(point, parts), k: point.k });
    const gate = fitGate(rows, trained.rows);
    return [name, gatedNll(test, gate, point.k)];
  });
  const remembered = cacheGains(test, point, [cache.temperature])[0];
  const nlls = {
    lm: test.neighbors.lm.map((lm) => -lm),
    constant,
    'λ by distance': binned(tune, test, point),
    'constant + cache': constant.map(
      (nll, row) => nll - Math.log1p(cache.lambda * remembered[row]),
    ),
    ...Object.fromEntries(gates),
    tuned: gatedNll(test, trained.gate, point.k),
    'self-tuned constant': constantNll(test, own),
    ...(own.gate && { 'self-tuned': gatedNll(test, own.gate, own.k) }),
  };
  return {
    nlls,
    parts: trained.parts,
    ...(withSkip && {
      skip: {
        ...skipping(tune, test, trained, point),
        // What searches always, on the same half.
        constant: perplexityOf(constant),
        neighborsAlone: perplexityOf(nlls.gate),
      },
    }),
  };
}

const perplexityOf = (nll) => Math.exp(nll.reduce((sum, own) => sum + own, 0) / nll.length);

/** @param parts [tables, nats by method] of each half */
function summary(parts) {
  const names = Object.keys(parts[0][1]);
  const columns = ['constant', ...names];
  const units = parts.flatMap(([{ neighbors }, nlls]) => {
    const rows = [];
    for (const [row, unit] of neighbors.units.entries()) {
      rows[unit] ??= [];
      rows[unit].push(row);
    }
    return rows.map((own) => [
      ...columns.map((name) => own.reduce((sum, row) => sum + nlls[name][row], 0)),
      own.length,
    ]);
  });
  const ratio = (c) => (sums) => Math.exp((sums[c] - sums[0]) / sums.at(-1));
  const intervals = bootstrapIntervals(
    units,
    columns.map((_, c) => ratio(c)),
  );
  const sums = units.reduce((all, unit) => all.map((sum, c) => sum + unit[c]));
  const percent = (value) => round((value - 1) * 100, 2);
  return Object.fromEntries(
    names.map((name, i) => [
      name,
      {
        perplexity: round(Math.exp(sums[i + 1] / sums.at(-1)), 3),
        change: percent(ratio(i + 1)(sums)),
        interval: intervals[i + 1].map(percent),
      },
    ]),
  );
}

const results = {};
for (const domain of options.domains.split(',')) {
  const { tables, own, entries } = await tablesOf(domain);
  const halves = [0, 1].map((half) => ofUnits(tables, (unit) => unit % 2 === half));
  const fitted = [0, 1].map((half) => methods(halves[1 - half], halves[half], own, half === 1));
  results[domain] = {
    entries,
    targets: tables.neighbors.targets,
    parts: fitted.map(({ parts }) => parts),
    ...summary(fitted.map(({ nlls }, half) => [halves[half], nlls])),
    skip: fitted[1].skip,
  };
  console.error(domain, JSON.stringify(results[domain]));
}
console.log(JSON.stringify({ bench: 'adaptive', ...options, results }));
