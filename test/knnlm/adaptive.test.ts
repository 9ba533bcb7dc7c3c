/** What is remembered, followed and skipped beside the neighbors of each query: alone, together, and wherever a text is read. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { GrowingIndex } from '../../dist/indexes/growing-index.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { keepSettings } from '../../dist/knnlm/milvus/publish-store.js';
import type { ReportedToken } from '../../dist/knnlm/token-report.js';
import type { Tuning } from '../../dist/knnlm/tune.js';
import type { RetrievalRequest } from '../../dist/knnlm/types.js';
import { Random } from '../../dist/math/random.js';
import { buildDatastore, openKnnLM } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'knnlm-adaptive-'));
const valid: string = JSON.parse(
  readFileSync(`${fixtures}golden/medical.valid.jsonl`, 'utf8').split('\n')[0]!,
).text;
const part = (number: number) => ({
  id: `part-${number}.txt`,
  source: '',
  text: valid.slice(1200 * number, 1200 * (number + 1)),
});
const constant = { k: 64, lambda: 0.4, temperature: 3 };

let knnlm: KnnLM;

beforeAll(async () => {
  const out = join(folder, 'store');
  const input = `${fixtures}golden/medical.train.jsonl`;
  const model = `${fixtures}models/stories260K`;
  await buildDatastore([input], { model, window: 128, stride: 64, out, settings: constant });
  knnlm = await openKnnLM(out);
});

afterAll(async () => {
  await knnlm?.close();
  rmSync(folder, { recursive: true });
});

async function scores(text: string | number[], request: RetrievalRequest) {
  const all: { id: number; logP: number; searched?: false }[] = [];
  for await (const piece of knnlm.scoreTokens(text, { ...request, end: false })) all.push(...piece);
  return all;
}

describe('a growing index', () => {
  it('finds what sorting all distances finds, while keys come and the oldest go', async () => {
    const [dim, k] = [21, 8];
    const index = await GrowingIndex.open(dim);
    const random = new Random(3);
    const keys: Float32Array[] = [];
    const key = () => Float32Array.from({ length: dim }, () => Math.round(8 * random.uniform()));
    for (let step = 0; step < 700; step++) {
      keys.push(key());
      index.add(keys.at(-1)!);
      if (step % 300 === 299) {
        index.drop(100);
        keys.splice(0, 100);
      }
      if (step % 50 !== 0) continue;
      const query = key();
      const [start, end] = [Math.min(5, keys.length - 1), keys.length];
      const expected = keys
        .map((one, row) => ({
          row,
          distance: one.reduce((s, x, i) => s + (x - query[i]!) ** 2, 0),
        }))
        .slice(start)
        .sort((a, b) => a.distance - b.distance || a.row - b.row)
        .slice(0, k);
      const found = index.nearest(query, [start, end], k);
      expect(found.rows).toEqual(expected.map(({ row }) => row));
      expect([...found.distances]).toEqual(expected.map(({ distance }) => distance));
    }
  });
});

it('a growing index that was closed serves the next text as a new one does', async () => {
  const first = await GrowingIndex.open(3);
  for (let i = 0; i < 300; i++) first.add([i, 1, 2]);
  expect(first.nearest([7, 1, 2], [0, 300], 1).rows).toEqual([7]);
  first.close();
  first.close();
  const second = await GrowingIndex.open(3);
  expect(second).toBe(first);
  expect(second.size).toBe(0);
  for (const dim of [3, 4]) expect(await GrowingIndex.open(dim)).not.toBe(first);
  second.add([50, 1, 2]);
  expect(second.nearest([7, 1, 2], [0, 1], 8)).toEqual({
    rows: [0],
    distances: Float32Array.of(43 ** 2),
  });
});

describe('the continuous cache', () => {
  it('mixes in the softmax over the states of the text so far, whose own token is not yet told', async () => {
    const ids = [...knnlm.model.tokenizer.encode(part(0).text)].slice(0, 40);
    const [cacheLambda, temperature] = [0.3, 5];
    const cached = await scores(ids, {
      ...constant,
      cache: { lambda: cacheLambda, temperature },
    });
    const without = await scores(ids, constant);
    const states: Float32Array[] = [];
    for (let i = 0; i < ids.length; i++) states.push(await knnlm.query(ids.slice(0, i)));
    for (const [i, target] of ids.entries()) {
      let [sum, right] = [0, 0];
      for (let j = 0; j < i; j++) {
        const distance = states[i]!.reduce((s, x, d) => s + (x - states[j]![d]!) ** 2, 0);
        const weight = Math.exp(-distance / temperature);
        sum += weight;
        if (ids[j] === target) right += weight;
      }
      const rest = Math.exp(without[i]!.logP);
      const expected = i === 0 ? rest : cacheLambda * (right / sum) + (1 - cacheLambda) * rest;
      expect(cached[i]!.logP).toBeCloseTo(Math.log(expected), 4);
    }
  });

  it('with a weight of 0 leaves everything as it is', async () => {
    const documents = [part(0)];
    const plain = await knnlm.evaluate(documents, constant);
    const remembered = await knnlm.evaluate(documents, { ...constant, cache: { lambda: 0 } });
    expect(remembered.knnlm.nll).toBe(plain.knnlm.nll);
    expect(() => knnlm.settings({ cache: { lambda: 1.5 } })).toThrow(/cache must lie .* not 1.5/);
    expect(() => knnlm.settings({ cache: { temperature: 0 } })).toThrow(/must be above 0, not 0/);
  });
});

describe.each<[string, RetrievalRequest]>([
  ['the cache', { ...constant, cache: { lambda: 0.2 } }],
  ['pointers', { ...constant, pointers: true }],
  ['both, and searches below 4 pointers', { ...constant, cache: true, minPointers: 4 }],
])('with %s', (_, request) => {
  it('a text has the same probabilities written, scored and evaluated, across windows', async () => {
    const generation = knnlm.generate('', {
      maxTokens: 150,
      temperature: 1,
      seed: 5,
      knn: request,
    });
    const written = [];
    for await (const token of generation) written.push(token);
    expect(written.length).toBeGreaterThan(130);
    const ids = written.map(({ id }) => id);
    const scored = await scores(ids, request);
    for (const [i, { p }] of written.entries()) expect(Math.exp(scored[i]!.logP)).toBeCloseTo(p, 3);
    const documents = [part(0), part(1)];
    let nll = 0;
    for (const { text } of documents)
      for await (const piece of knnlm.scoreTokens(text, request))
        for (const { logP } of piece) nll -= logP;
    const evaluated = await knnlm.evaluate(documents, request);
    expect(evaluated.knnlm.nll / nll).toBeCloseTo(1, 5);
    expect(evaluated.searched < 1).toBe(request.minPointers !== undefined);
    const plain = await knnlm.evaluate(documents, constant);
    expect(evaluated.knnlm.nll).toBeLessThan(plain.knnlm.nll);
  });
});

/** Efforts that the index is asked for from now on. */
function watchEffort() {
  const { index } = knnlm.retriever;
  const search = index.search.bind(index);
  const asked = new Set<number | undefined>();
  index.search = (queries, options) => {
    asked.add(options.effort);
    return search(queries, options);
  };
  const restore = (): void => {
    index.search = search;
  };
  return { asked, restore };
}

it('a search asks the index for as much effort as the request does, wherever a text is read', async () => {
  const { asked, restore } = watchEffort();
  const text = part(0).text.slice(0, 60);
  const read = async (request: RetrievalRequest) => {
    asked.clear();
    await knnlm.evaluate([{ ...part(0), text }], request);
    await scores(text, request);
    await knnlm.search(text, request);
    for await (const _ of knnlm.generate(text, { maxTokens: 2, knn: request }));
    return [...asked];
  };
  try {
    expect(await read({ ...constant, effort: 0.25 })).toEqual([0.25]);
    expect(await read({ ...constant, effort: 1 })).toEqual([undefined]);
  } finally {
    restore();
  }
  // Exact search has nothing to do less of.
  const evaluated = await knnlm.evaluate([part(0)], { ...constant, effort: 0.25 });
  expect(evaluated.settings.effort).toBe(0.25);
  expect(evaluated.knnlm.nll).toBe((await knnlm.evaluate([part(0)], constant)).knnlm.nll);
  expect(() => knnlm.settings({ effort: 0 })).toThrow(/above 0, where 1 is the usual, not 0/);
});

it('a store is tuned with the effort that it is searched with from then on', async () => {
  const { asked, restore } = watchEffort();
  const before = knnlm.datastore.settings;
  try {
    const tuned = await knnlm.tune([part(2)], { effort: 0.5, maxTokens: 300 });
    expect([...asked]).toEqual([0.5]);
    expect(tuned.parts.effort).toBe(0.5);
    asked.clear();
    expect((await knnlm.evaluate([part(0)], constant)).settings.effort).toBe(0.5);
    expect([...asked]).toEqual([0.5]);
    expect(knnlm.settings({ effort: 1 })).not.toHaveProperty('effort');
    const reopened = await Datastore.open(join(folder, 'store'));
    expect(reopened.settings).toMatchObject({ effort: 0.5, source: 'tuned' });
    await reopened.close();
    await expect(knnlm.tune([part(2)], { effort: -1 })).rejects.toThrow(/above 0/);
  } finally {
    restore();
    await keepSettings(knnlm.datastore, before!, () => {});
  }
});

describe('a store tuned with all of it', () => {
  let tuning: Tuning;

  beforeAll(async () => {
    tuning = await knnlm.tune([part(2), part(3), part(4)]);
  });

  it('tells what each part is worth, and keeps what pays', async () => {
    const { tried, crossValidated } = tuning.gate!;
    expect(tried.map(({ cache, pointers }) => [cache, pointers])).toEqual([
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ]);
    const least = Math.min(...tried.map((one) => one.crossValidated));
    expect(crossValidated).toBeLessThanOrEqual(1.001 * least);
    expect(knnlm.settings()).toMatchObject({ gate: knnlm.datastore.settings!.gate });
    const own = await knnlm.evaluate([part(5)]);
    expect(own.settings).toEqual({ ...tuning.settings, ...tuning.parts, gate: true });
    const alone = await knnlm.evaluate([part(5)], { cache: false, pointers: false });
    expect(alone.settings).toEqual({ ...tuning.settings, gate: true });
    expect(own.knnlm.nll).toBeLessThan(1.02 * alone.knnlm.nll);
  });

  it('skips about as many searches as asked, at the cost it foretold', async () => {
    const documents = [part(5), part(6)];
    const always = await knnlm.evaluate(documents, { adaptive: 0 });
    expect(always.searched).toBe(1);
    const half = await knnlm.evaluate(documents, { adaptive: 0.5 });
    expect(half.settings.adaptive).toBe(0.5);
    expect(half.searched).toBeGreaterThan(0.35);
    expect(half.searched).toBeLessThan(0.65);
    const most = await knnlm.evaluate(documents, { adaptive: 0.8 });
    expect(most.searched).toBeLessThan(half.searched);
    const { always: foretold, points } = tuning.skip!;
    const cost = points.find(({ skipped }) => skipped >= 0.5)!.perplexity / foretold;
    expect(half.knnlm.perplexity / always.knnlm.perplexity).toBeLessThan(cost + 0.05);
    // What is skipped are not any searches.
    expect(half.knnlm.perplexity).toBeLessThan(
      (always.knnlm.perplexity + always.lm.perplexity) / 2,
    );
  });

  it('skips while it writes, and says so', async () => {
    const generation = knnlm.generate(part(5).text.slice(0, 200), {
      maxTokens: 40,
      knn: { adaptive: 0.5 },
    });
    let step = await generation.next();
    while (!step.done) step = await generation.next();
    expect(step.value.settings).toMatchObject({ adaptive: 0.5, pointers: true });
    expect(step.value.searched).toBeGreaterThan(0);
    expect(step.value.searched).toBeLessThan(1);
  });

  it('is looked at without what the text adds, and says so', async () => {
    const request = { cache: true, adaptive: 0.5 };
    const { leftOut, settings, prediction } = await knnlm.inspect('It is', request);
    expect(leftOut).toEqual(['cache', 'pointers', 'adaptive']);
    expect(settings).toMatchObject({ ...tuning.settings, gate: knnlm.datastore.settings!.gate });
    for (const part of ['cache', 'pointers', 'skip']) expect(settings).not.toHaveProperty(part);
    const others = { cache: false, pointers: false };
    const alone = await knnlm.inspect('It is', others);
    expect(alone.leftOut).toEqual([]);
    expect(alone.prediction.logProbs).toEqual(prediction.logProbs);
  });

  it('refuses what does not go together', () => {
    expect(() => knnlm.settings({ adaptive: 0.5, pointers: false })).toThrow(/leave pointers on/);
    expect(() => knnlm.settings({ adaptive: 2 })).toThrow(/between 0 and 1, not 2/);
    expect(() => knnlm.settings({ minPointers: 0 })).toThrow(/at least 1, not 0/);
  });

  it('tells every token and sums them up where memory helps', async () => {
    const documents = [part(5), part(6)];
    const tokens: ReportedToken[] = [];
    const evaluation = await knnlm.evaluate(documents, {
      breakdown: true,
      onTokens: (rows) => void tokens.push(...rows),
    });
    expect(tokens).toHaveLength(evaluation.tokens);
    const sum = (of: (token: ReportedToken) => number) =>
      tokens.reduce((all, token) => all + of(token), 0);
    expect(-sum(({ logP }) => logP!)).toBeCloseTo(evaluation.knnlm.nll, 6);
    expect(-sum(({ logPLm }) => logPLm!)).toBeCloseTo(evaluation.lm.nll, 6);
    for (const { logP, logPLm, lambda, pKnn } of tokens)
      expect(Math.exp(logP!)).toBeCloseTo(lambda * pKnn + (1 - lambda) * Math.exp(logPLm!), 6);
    expect(sum(({ searched }) => Number(searched)) / tokens.length).toBe(evaluation.searched);
    const stored = await knnlm.datastore.valueRange(0, knnlm.datastore.documents.at(0).length);
    const [first] = stored;
    const told = tokens.find(({ token }) => token === first)!;
    expect(told.frequency).toBeGreaterThanOrEqual(stored.filter((token) => token === first).length);
    for (const groups of Object.values(evaluation.breakdown!)) {
      let [count, nll, helped] = [0, 0, 0];
      for (const group of groups) {
        count += group.tokens;
        nll += group.tokens * Math.log(group.knnlm);
        helped += group.tokens * group.helped;
      }
      expect(count).toBe(evaluation.tokens);
      expect(nll).toBeCloseTo(evaluation.knnlm.nll, 4);
      expect(helped / count).toBeCloseTo(evaluation.helped, 9);
    }
    expect(evaluation.breakdown!.type.map(({ group }) => group)).toEqual(['.txt']);
    const rare = evaluation.breakdown!.frequency[0]!;
    expect(tokens.some(({ frequency }) => frequency < 10)).toBe(/^(0|1 to 9)$/.test(rare.group));
  });
});
