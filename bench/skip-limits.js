/**
 * Why half of the searches cannot be skipped for nothing: what a skipped search loses, how much of that can be foretold, and how much of it
 * is had without a search from the entries that come after the same words as the text.
 *
 *     node bench/skip-limits.js STORES CORPORA TABLES [--domains uscode,medical,techdocs,books] [--tokens 16000] [--documents 40] [--matches 512]
 *
 * Arguments as of `adaptive.js`, whose tables are taken from TABLES. Of each target as many entries as `--matches` says are looked up that
 * come after the longest endings of the text (`context-order.js`); their keys are compared exactly. Where there is no search they
 * stand in for neighbors, by distance, and for pointers, by how many tokens they have in common with the text; where there is
 * one, those that it found stand in for pointers. The gate over the text so far, with or without a search, and what foretells the gain of
 * a search are fitted as those of a store are, to every second document and measured on the others, both ways. JSON on the last line.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { beforeSearch, expertCount, featureCount } from '../dist/datastore/gate-sizes.js';
import { openKnnLM } from '../dist/index.js';
import { fitGate, momentsOf, nllOf, standardizedRows } from '../dist/knnlm/fit-gate.js';
import { GateReader } from '../dist/knnlm/gate-reader.js';
import { gateRows } from '../dist/knnlm/gate-rows.js';
import { searchSettings } from '../dist/knnlm/search-settings.js';
import { promiseOf, square } from '../dist/knnlm/skip.js';
import { shapeOf } from '../dist/knnlm/train-gate.js';
import { TuningWindows } from '../dist/knnlm/tuning-windows.js';
import { logLinear } from '../dist/math/log-linear.js';
import { Random } from '../dist/math/random.js';
import { collected, heldOut } from './collected.js';
import { round } from './common.js';
import { ContextOrder } from './context-order.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    domains: { type: 'string', default: 'uscode,medical,techdocs,books' },
    tokens: { type: 'string', default: '16000' },
    documents: { type: 'string', default: '40' },
    matches: { type: 'string', default: '512' },
  },
});
const [stores, corpora, kept] = positionals;
if (!kept) throw new Error('usage: node bench/skip-limits.js STORES CORPORA TABLES');
const MATCHES = Number(options.matches);
const SHARES = [0.3, 0.4, 0.5, 0.6];
/** Gains that a search is fitted to foretell, as in `train-skip.ts`. Nats. */
const [LEAST_GAIN, MOST_GAIN] = [-0.5, 6];
const QUERIES_AT_ONCE = 256;
/** Groups of tokens that only matches vote for, and of the target where nothing else does: beyond those of the tables. */
const OWN_GROUPS = 4096;

/** For every target of the documents, in the order of the tables: the matches with distances, tokens and lengths. */
async function lookUp(memory, documents) {
  const { datastore, model, retriever } = memory;
  const values = await datastore.valueRange(0, datastore.entries);
  const started = performance.now();
  const order = new ContextOrder(values);
  const sortSeconds = (performance.now() - started) / 1000;
  const rows = [];
  const queries = [];
  const windows = new TuningWindows(datastore.header, Number.POSITIVE_INFINITY);
  for (const { inputs, targets } of documents) windows.add({ inputs, targets });
  let findMs = 0;
  for (const { inputs, targets, positions, document, start } of windows.take()) {
    const [{ keys }] = await model.score([inputs], [targets]);
    for (const position of positions) {
      const text = documents[document].targets.subarray(0, start + position);
      const began = performance.now();
      const { ids, lengths } = order.find(text, MATCHES);
      findMs += performance.now() - began;
      const ascending = [...ids.keys()].sort((a, b) => ids[a] - ids[b]);
      rows.push({
        target: targets[position],
        ids: Uint32Array.from(ascending, (i) => ids[i]),
        lengths: Uint8Array.from(ascending, (i) => lengths[i]),
        tokens: Uint32Array.from(ascending, (i) => values[ids[i]]),
      });
      queries.push(keys.slice(position * datastore.keyDim, (position + 1) * datastore.keyDim));
    }
  }
  for (let first = 0; first < rows.length; first += QUERIES_AT_ONCE) {
    const part = rows.slice(first, first + QUERIES_AT_ONCE);
    const together = new Float32Array(part.length * datastore.keyDim);
    for (const i of part.keys()) together.set(queries[first + i], i * datastore.keyDim);
    const distances = await retriever.distances(together, {
      counts: Uint32Array.from(part, ({ ids }) => ids.length),
      ids: Uint32Array.from(part.flatMap(({ ids }) => [...ids])),
    });
    let at = 0;
    for (const row of part) row.distances = distances.subarray(at, (at += row.ids.length));
  }
  const findMicroseconds = (1000 * findMs) / rows.length;
  return { rows, sortSeconds, findMicroseconds };
}

/** Some of a target's matches as voters, nearest or longest first. @param groupOf a token's group */
function voters({ distances, lengths, tokens }, places, by, groupOf) {
  const longest = places.reduce((most, i) => Math.max(most, lengths[i]), 0);
  const own = by === 'distance' ? distances : Float32Array.from(lengths, (one) => longest - one);
  const sorted = [...places].sort((a, b) => own[a] - own[b]);
  return {
    distances: sorted.map((i) => own[i]),
    groups: sorted.map((i) => groupOf(tokens[i])),
    count: sorted.length,
    longest,
  };
}

/** What is known of every target with and without a search. */
function evidenceOf({ neighbors, evidence }, matches) {
  const { k, cached } = evidence;
  return matches.map((row, at) => {
    const distances = neighbors.distances.subarray(at * k, (at + 1) * k);
    let count = k;
    while (count > 0 && distances[count - 1] === Number.POSITIVE_INFINITY) count--;
    // Tokens of the tables have numbers that say only which are alike: of the matches' the target alone must have the same.
    const group = evidence.targets[at] < 0 ? OWN_GROUPS - 1 : evidence.targets[at];
    const numbers = new Map([[row.target, group]]);
    const groupOf = (token) => {
      if (!numbers.has(token)) numbers.set(token, OWN_GROUPS + numbers.size);
      return numbers.get(token);
    };
    const all = [...row.ids.keys()];
    const found = all.filter((i) => row.distances[i] <= distances[count - 1]);
    const common = {
      cached: {
        distances: cached.distances.subarray(at * cached.room, (at + 1) * cached.room),
        groups: cached.groups.subarray(at * cached.room, (at + 1) * cached.room),
        count: cached.counts[at],
      },
      best: evidence.best[at],
    };
    return {
      group,
      searched: {
        ...common,
        neighbors: { distances, groups: evidence.groups.subarray(at * k, (at + 1) * k), count },
        runs: voters(row, found, 'length', groupOf),
      },
      skipped: {
        ...common,
        neighbors: voters(row, all, 'distance', groupOf),
        runs: voters(row, all, 'length', groupOf),
      },
    };
  });
}

/** As `gateRows` makes them, of evidence that was put together here. */
function rowsOf(known, which, shape, { neighbors }) {
  const [width, experts, m] = [featureCount(shape), expertCount(shape), known.length];
  const rows = {
    shape,
    features: new Float32Array(m * width),
    known: new Uint8Array(m * width),
    open: new Uint8Array(m * experts),
    ratios: new Float32Array(m * experts),
    lm: neighbors.lm,
    units: neighbors.units,
  };
  const reader = new GateReader(shape, OWN_GROUPS + MATCHES + 2);
  const shares = new Float64Array(experts);
  for (const [at, { group, [which]: evidence }] of known.entries()) {
    reader.read(evidence);
    rows.features.set(reader.features, at * width);
    rows.known.set(reader.known, at * width);
    rows.open.set(reader.open, at * experts);
    reader.shares(group, shares);
    const perLm = Math.exp(-neighbors.lm[at]);
    for (let e = 0; e < experts; e++) rows.ratios[at * experts + e] = e ? shares[e] * perLm : 1;
  }
  return rows;
}

/** The gain that is foretold for every row. @param chosen to learn from */
function foretell(rows, gains, chosen) {
  const width = featureCount(rows.shape);
  const scale = momentsOf(rows, chosen, width);
  const wide = (own) => [...own, ...Array.from(own, square)];
  const all = standardizedRows(rows, [...gains.keys()], scale);
  const own = (row) => all.subarray(row * width, (row + 1) * width);
  const values = chosen.map((row) => Math.max(LEAST_GAIN, Math.min(MOST_GAIN, gains[row])));
  const weights = logLinear(Float64Array.from(chosen.flatMap((row) => wide(own(row)))), values);
  return Array.from(gains, (_, row) => promiseOf(own(row), weights));
}

const sumOf = (values) => values.reduce((sum, value) => sum + value, 0);

/** Nats of the rows when a share of the searches is skipped, those of which the least is expected. */
function nllAt(share, { rows, made, skipped, promise }) {
  const order = [...rows].sort((a, b) => promise[a] - promise[b]);
  const out = Math.round(share * order.length);
  return sumOf(order.map((row, i) => (i < out ? skipped[row] : made[row])));
}

/** @returns nats by what decides which searches are skipped, of the documents of one half */
function half(tables, parts, isTest) {
  const all = [...tables.neighbors.units.keys()];
  const test = all.filter((row) => isTest(tables.neighbors.units[row]));
  const tune = all.filter((row) => !isTest(tables.neighbors.units[row]));
  const made = nllOf(fitGate(parts.searched, tune), parts.searched, all);
  const skipped = nllOf(fitGate(parts.skipped, tune), parts.skipped, all);
  const followed = nllOf(fitGate(parts.followed, tune), parts.followed, test);
  const gains = made.map((nll, row) => skipped[row] - nll);
  const random = new Random(1);
  const deciders = {
    'by chance': gains.map(() => random.uniform()),
    'foretold before': foretell(parts.before, gains, tune),
    'foretold, by distances too': foretell(parts.skipped, gains, tune),
    'foretold, learned on the text itself': foretell(parts.skipped, gains, test),
    'by hindsight': gains,
  };
  const measured = { rows: test, made, skipped };
  return {
    targets: test.length,
    gains: test.map((row) => gains[row]),
    always: sumOf(test.map((row) => made[row])),
    never: sumOf(test.map((row) => skipped[row])),
    followed: sumOf([...followed]),
    deciders: Object.fromEntries(
      Object.entries(deciders).map(([name, promise]) => [
        name,
        SHARES.map((share) => nllAt(share, { ...measured, promise })),
      ]),
    ),
  };
}

async function measure(domain) {
  const memory = await openKnnLM(join(stores, `${domain}.knn`));
  try {
    const documents = await heldOut(join(corpora, `${domain}.valid.jsonl.gz`), {
      tokens: Number(options.tokens),
      most: Number(options.documents),
      model: memory.model,
    });
    const tables = await collected(join(kept, `${domain}-${options.tokens}`), memory, documents);
    const { rows, ...times } = await lookUp(memory, documents);
    const known = evidenceOf(tables, rows);
    const shape = shapeOf(searchSettings(tables.neighbors).best, { cache: true, pointers: true });
    const parts = {
      searched: rowsOf(known, 'searched', shape, tables),
      skipped: rowsOf(known, 'skipped', shape, tables),
      before: rowsOf(known, 'skipped', beforeSearch(shape), tables),
      followed: gateRows(tables, { shape, k: tables.neighbors.k }),
    };
    const halves = [0, 1].map((number) => half(tables, parts, (unit) => unit % 2 === number));
    const both = (of) => sumOf(halves.map(of));
    const targets = both((one) => one.targets);
    const always = both((one) => one.always);
    const change = (nll) => round(100 * (Math.exp((nll - always) / targets) - 1), 2);
    const sizes = halves.flatMap((one) => one.gains.map(Math.abs)).sort((a, b) => b - a);
    return {
      targets,
      sortSeconds: round(times.sortSeconds, 1),
      findMicroseconds: round(times.findMicroseconds, 0),
      lm: round(Math.exp(-sumOf([...tables.neighbors.lm]) / targets), 3),
      always: round(Math.exp(always / targets), 3),
      /** Searched always, with pointers that are followed from search to search. */
      pointers: round(Math.exp(both((one) => one.followed) / targets), 3),
      never: {
        perplexity: round(Math.exp(both((one) => one.never) / targets), 3),
        change: change(both((one) => one.never)),
      },
      skipped: Object.fromEntries(
        Object.keys(halves[0].deciders).map((name) => [
          name,
          Object.fromEntries(
            SHARES.map((share, i) => [share, change(both((one) => one.deciders[name][i]))]),
          ),
        ]),
      ),
      /** Of the targets, how many a search changes by so many nats, one way or the other; and how much of all change is that of the tenth most changed. */
      changed: Object.fromEntries(
        [0.01, 0.1, 1].map((nats) => [
          nats,
          round(sizes.filter((size) => size > nats).length / targets, 3),
        ]),
      ),
      tenth: round(sumOf(sizes.slice(0, targets / 10)) / sumOf(sizes), 3),
    };
  } finally {
    await memory.close();
  }
}

const results = {};
for (const domain of options.domains.split(',')) {
  results[domain] = await measure(domain);
  console.error(domain, JSON.stringify(results[domain]));
}
console.log(JSON.stringify({ bench: 'skip-limits', ...options, results }));
