/**
 * Stores of pairs and translation with them, on a real encoder-decoder that was trained to translate (`make_translator.py`), against
 * what PyTorch and transformers made of the same pairs in float64.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  addDocuments,
  buildDatastore,
  compactStore,
  datastoreInfo,
  listDocuments,
  openKnnLM,
  removeDocuments,
  verifyStore,
} from '../../dist/index.js';
import { beamSearch } from '../../dist/knnlm/beam-search.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { readTokens } from '../../dist/knnlm/read-tokens.js';
import { loadModel } from '../../dist/model/load-model.js';
import type { SourceDocument } from '../../src/datastore/types.ts';
import { expectClose } from '../golden.ts';
import { fixture } from '../model-onnx/support.ts';

const MODEL = fixture('models/translator');
const pairs = (name: string): string => join(MODEL, 'pairs', `${name}.jsonl`);
const truth = JSON.parse(readFileSync(join(MODEL, 'truth.json'), 'utf8')) as Record<
  'medicine' | 'everyday',
  {
    tokens: number[][];
    lm: number[][];
    mixture: number[][];
    perplexity: [lm: number, mixture: number];
    searched: { beams: number; lengthPenalty: number; tokens: number[]; score: number | null }[][];
    greedyMixture: number[][];
  }
> & { k: number; lambda: number; temperature: number; entries: number };
const { k, lambda, temperature } = truth;
const documentsOf = (name: string): SourceDocument[] =>
  readFileSync(pairs(name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { id, source, target } = JSON.parse(line);
      return { id, text: target, sourceText: source, source: name };
    });

const folder = mkdtempSync(join(tmpdir(), 'knnlm-translate-'));
const store = join(folder, 'medicine.knn');
const exact = { k, lambda, temperature };
let memory: KnnLM;
beforeAll(async () => {
  const built = await buildDatastore([pairs('memory')], {
    out: store,
    model: MODEL,
    keyDtype: 'fp32',
    settings: exact,
    pairs: {},
    workers: 1,
  });
  expect(built).toMatchObject({ documents: 250, entries: truth.entries, skipped: 0 });
  memory = await openKnnLM(store, { workers: 1 });
});
afterAll(async () => {
  await memory.close();
  rmSync(folder, { recursive: true, force: true });
});

describe('a memory of pairs', () => {
  it.each(['medicine', 'everyday'] as const)(
    'gives the targets of %s the log-probabilities that PyTorch computes',
    async (domain) => {
      const expected = truth[domain];
      const documents = documentsOf(domain);
      const read = await Promise.all(documents.map((one) => readTokens(one, memory.model)));
      expect(read.map(({ targets }) => [...targets])).toEqual(expected.tokens);
      const scored = await memory.model.score(
        read.map(({ inputs }) => inputs),
        read.map(({ targets }) => targets),
        { sources: read.map(({ sourceIds }) => sourceIds!) },
      );
      for (const [i, { logProbs }] of scored.entries()) {
        expectClose(logProbs, expected.lm[i]!, 1e-4);
      }
      const evaluation = await memory.evaluate(documents);
      const [lm, mixture] = expected.perplexity;
      expect(evaluation.tokens).toBe(expected.tokens.flat().length);
      expect(evaluation.lm.perplexity / lm).toBeCloseTo(1, 4);
      expect(evaluation.knnlm.perplexity / mixture).toBeCloseTo(1, 4);
    },
  );

  it('makes sense of a domain that the model has never seen, and costs little elsewhere', () => {
    const [lm, mixture] = truth.medicine.perplexity;
    expect(mixture).toBeLessThan(lm / 1.5);
    expect(truth.everyday.perplexity[1]).toBeLessThan(1.2 * truth.everyday.perplexity[0]);
  });
});

describe('translating', () => {
  const sources = (domain: string) => documentsOf(domain).map(({ sourceText }) => sourceText!);

  it.each(['medicine', 'everyday'] as const)(
    'with the model alone is what transformers finds, greedily and with beams: %s',
    async (domain) => {
      for (const [i, searches] of truth[domain].searched.entries()) {
        for (const { beams, lengthPenalty, tokens, score } of searches) {
          const translation = await memory.translate(sources(domain)[i]!, {
            beams,
            lengthPenalty,
            maxTokens: 80,
            knn: { lambda: 0 },
          });
          const end = translation.finishReason === 'stop' ? [memory.model.info.eos] : [];
          expect([...translation.tokens.map(({ id }) => id), ...end]).toEqual(tokens);
          if (score !== null) expect(translation.score).toBeCloseTo(score, 3);
          expect(translation.tokens.every(({ neighbors }) => neighbors.length === 0)).toBe(true);
        }
      }
    },
  );

  it('with the memory is what the mixture of PyTorch’s own states gives', async () => {
    for (const domain of ['medicine', 'everyday'] as const) {
      for (const [i, tokens] of truth[domain].greedyMixture.entries()) {
        const { tokens: found, finishReason } = await memory.translate(sources(domain)[i]!, {
          beams: 1,
          maxTokens: 80,
        });
        const end = finishReason === 'stop' ? [memory.model.info.eos] : [];
        expect([...found.map(({ id }) => id), ...end]).toEqual(tokens);
      }
    }
  });

  it('finds a stored pair’s own target, each token with the pair it came from', async () => {
    const [pair] = documentsOf('memory');
    const knn = { lambda: 0.9, temperature: 0.1 };
    const translation = await memory.translate(pair!.sourceText!, { knn, beams: 3, candidates: 2 });
    expect(translation).toMatchObject({
      source: pair!.sourceText,
      text: pair!.text,
      finishReason: 'stop',
      beams: 3,
      settings: { k, lambda: 0.9, temperature: 0.1 },
    });
    expect(translation.tokens.map(({ text }) => text).join('')).toBe(pair!.text);
    for (const { id, p, pLm, pKnn, neighbors, candidates } of translation.tokens) {
      expect(p).toBeCloseTo(0.9 * pKnn + 0.1 * pLm, 5);
      expect(neighbors[0]).toMatchObject({
        document: pair!.id,
        sourceText: pair!.sourceText,
        targetId: id,
      });
      expect(candidates).toHaveLength(2);
    }
    const without = await memory.translate(pair!.sourceText!, {
      knn,
      excludeDocuments: [pair!.id],
    });
    const used = without.tokens.flatMap(({ neighbors }) =>
      neighbors.map(({ document }) => document),
    );
    expect(used).not.toContain(pair!.id);
  });

  it('stops where it is told to, and refuses what cannot be', async () => {
    const { tokens, finishReason } = await memory.translate('the dog sees a cat.', {
      maxTokens: 3,
    });
    expect([tokens.length, finishReason]).toEqual([3, 'length']);
    const failing = (request: object, text = 'the dog.') =>
      memory.translate(text, request).catch((error) => `${error.code} ${error.message}`);
    expect(await failing({ beams: 0 })).toMatch(/INVALID_ARGUMENT .*beams.*from 1 to 64, not 0/);
    expect(await failing({ maxTokens: 129 })).toMatch(/from 1 to 128, what the store/);
    expect(await failing({ lengthPenalty: Number.NaN })).toMatch(/length penalty/);
    expect(await failing({}, 'dog '.repeat(200))).toMatch(
      /INVALID_DOCUMENT The text has a source of \d+ tokens/,
    );
    const controller = new AbortController();
    controller.abort();
    expect(await failing({ signal: controller.signal })).toMatch(/^ABORTED/);
    // An empty source is one: its end.
    expect((await memory.translate('')).tokens.length).toBeLessThan(60);
  });
});

describe('a store of pairs', () => {
  it('says that it holds pairs, in a version that older programs do not read', async () => {
    const manifest = JSON.parse(readFileSync(join(store, 'manifest.json'), 'utf8'));
    expect(manifest).toMatchObject({ version: 3, pairs: {}, bos: 479, eos: 0 });
    expect(await datastoreInfo(store)).toMatchObject({ pairs: {}, documents: 250 });
    const [first] = await listDocuments(store);
    const [pair] = documentsOf('memory');
    expect(first).toMatchObject({ id: pair!.id, sourceText: pair!.sourceText });
  });

  it('is added to, emptied, compacted, verified, and searched with others, like one of texts', async () => {
    const path = join(folder, 'changed.knn');
    cpSync(store, path, { recursive: true });
    const added = join(folder, 'more.tsv');
    const long = 'dog '.repeat(200);
    writeFileSync(
      added,
      `the dog dilutes the stent.\tx\nthe dog dilutes the stent.\ty\n${long}\tz\n`,
    );
    const skips: string[] = [];
    const result = await addDocuments(path, [added], {
      selfTune: false,
      workers: 1,
      onSkip: ({ reason }) => skips.push(reason),
    });
    expect(result).toMatchObject({ documents: 2, skipped: 1 });
    expect(skips).toEqual([expect.stringMatching(/source of 2\d\d tokens, but .* at most 128/)]);
    const [{ id }] = documentsOf('memory') as [SourceDocument];
    await removeDocuments(path, { ids: [id] });
    await compactStore(path, {});
    const documents = await listDocuments(path);
    expect(documents.map((one) => one.id)).not.toContain(id);
    expect(documents).toHaveLength(251);
    expect(await verifyStore(path)).toMatchObject({ problems: [], leftovers: [] });
    const two = await openKnnLM([path, store], { workers: 1 });
    const { tokens } = await two.translate('the dog dilutes the stent.', { knn: { k: 64 } });
    const stores = new Set(tokens.flatMap(({ neighbors }) => neighbors.map((one) => one.store)));
    expect([...stores].sort()).toEqual(['changed.knn', 'medicine.knn']);
    await two.close();
  });

  it('takes no texts and continues none; one of texts takes no pairs and translates none', async () => {
    const message = (work: Promise<unknown>) =>
      work.then(
        () => 'done',
        (error) => `${error.code} ${error.message}`,
      );
    const lone = [{ id: 'x', text: 'a text', source: 'here' }];
    expect(await message(memory.add(lone))).toMatch(
      /INVALID_DOCUMENT .* is an encoder-decoder and reads pairs, but here is a text alone/,
    );
    expect(await message(memory.evaluate(lone))).toMatch(/here is a text alone/);
    expect(() => memory.generate('the dog')).toThrow(/holds pairs .*knnlm translate/);
    expect(await message(memory.search('the dog'))).toMatch(/INVALID_ARGUMENT .*knnlm translate/);
    expect(await message(memory.inspect('the dog'))).toMatch(/knnlm translate/);
    const out = join(folder, 'texts.knn');
    const texts = join(folder, 'texts.jsonl');
    writeFileSync(texts, '{"text": "Once upon a time there was a dog."}');
    const stories = fixture('models/stories260K');
    const build = (inputs: string, options: object) =>
      message(buildDatastore([inputs], { out, workers: 1, ...options }));
    expect(await build(texts, { model: MODEL })).toMatch(/INVALID_ARGUMENT .*knnlm build --pairs/);
    expect(await build(pairs('memory'), { model: stories, pairs: {} })).toMatch(
      /causal model and reads texts, not pairs/,
    );
    expect(await build(texts, { model: stories })).toBe('done');
    expect(await message(addDocuments(out, [texts], { targets: [texts] }))).toMatch(
      /holds texts, not pairs/,
    );
    const other = await openKnnLM(out, { workers: 1 });
    expect(await message(other.translate('the dog'))).toMatch(/holds texts.*knnlm generate/);
    expect(await message(other.evaluate(documentsOf('medicine')))).toMatch(
      /INVALID_DOCUMENT .*medicine is a pair/,
    );
    await other.close();
  });

  it('belongs to what its model was told', async () => {
    const out = join(folder, 'prefixed.knn');
    const pair = join(folder, 'one.tsv');
    writeFileSync(pair, 'a dog.\tx.\n');
    const sourcePrefix = 'today ';
    await buildDatastore([pair], { out, model: MODEL, pairs: { sourcePrefix }, workers: 1 });
    expect((await datastoreInfo(out)).pairs).toEqual({ sourcePrefix });
    const told = await openKnnLM(out, { workers: 1 });
    const [ids] = await told.model.encodeSources(['a dog.']);
    const [plain] = await memory.model.encodeSources(['today a dog.']);
    expect(ids).toEqual(plain);
    await told.close();
    await expect(openKnnLM([store, out])).rejects.toThrow(
      /their models differ: the prefix or language of pairs is \{\} .*\{"sourcePrefix":"today "\}/,
    );
  });
});

describe('a model of pairs', () => {
  it('reads each source once, and a target behind it as often as it is asked', async () => {
    const model = await loadModel(MODEL, { workers: 1 });
    const [source, other] = await model.encodeSources(['the dog sees a cat.', 'a cat.']);
    const decoder = await model.startDecoding(source);
    await decoder.read([model.tokenizer.bos]);
    const { keys, logProbs } = await decoder.step([0, 0], [10, 20]);
    expect([keys.length, logProbs.length]).toEqual([2 * 64, 2 * model.info.vocabSize]);
    const message = (work: Promise<unknown>) => work.catch((error) => error.message);
    expect(await message(decoder.read([1]))).toMatch(/reads 2 texts side by side/);
    expect(await message(decoder.step([2], [1]))).toMatch(/one of the 2 before it/);
    decoder.reset();
    const again = await decoder.read([model.tokenizer.bos, 10]);
    expectClose(again.key, keys.subarray(0, 64), 1e-4);
    const [window] = [Int32Array.of(model.tokenizer.bos, 10)];
    const [alone] = await model.keys([window], { sources: [source!] });
    const [beside] = await model.keys([window, window], { sources: [source!, other!] });
    expectClose(beside!, alone!, 1e-4);
    expect(await message(model.keys([window]))).toMatch(/needs a source for each text/);
    expect(await message(model.keys([window], { sources: [new Int32Array(0)] }))).toMatch(
      /A source must have 1 to 128 tokens, but has 0/,
    );
    await model.close();
  });
});

describe('beam search', () => {
  /** A model over few tokens: log-probabilities that depend on all tokens so far. */
  const logProbsAfter = (seed: number, tokens: readonly number[], size: number): Float32Array => {
    const logits = Array.from(
      { length: size },
      (_, token) =>
        Math.sin(seed + tokens.reduce((hash, id) => hash * 7 + id + 1, 3) * (token + 1)) * 2,
    );
    const sum = Math.log(logits.reduce((all, logit) => all + Math.exp(logit), 0));
    return Float32Array.from(logits, (logit) => logit - sum);
  };

  const search = (seed: number, size: number, beams: number, maxTokens: number) => {
    let rows: number[][] = [[]];
    return beamSearch<{ tokens: number[] }>(
      { tokens: [] },
      {
        ...{ beams, maxTokens, lengthPenalty: 0, given: 0, stopTokens: [0], forbidden: [1] },
        logProbsOf: ({ tokens }) => logProbsAfter(seed, tokens, size),
        step: async (parents, tokens) => {
          rows = parents.map((parent, i) => [...rows[parent]!, tokens[i]!]);
          return rows.map((own) => ({ tokens: own }));
        },
      },
    );
  };

  /** All sequences that end with token 0 or have so many tokens. */
  function* sequences(size: number, most: number, before: number[] = []): Generator<number[]> {
    for (let token = 0; token < size; token++) {
      if (token === 1) continue;
      const tokens = [...before, token];
      if (token === 0 || tokens.length === most) yield tokens;
      else yield* sequences(size, most, tokens);
    }
  }

  it('with enough beams finds the best of all sequences', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: 10_000 }), async (seed) => {
        const logProb = (tokens: number[]): number =>
          tokens.reduce(
            (sum, token, i) => sum + logProbsAfter(seed, tokens.slice(0, i), 5)[token]!,
            0,
          );
        const best = Math.max(...[...sequences(5, 4)].map(logProb));
        const found = await search(seed, 5, 60, 4);
        expect(found.logProb).toBeCloseTo(best, 5);
        expect(logProb(found.path.map(({ token }) => token))).toBeCloseTo(best, 5);
        expect(found.path.map(({ token }) => token)).not.toContain(1);
      }),
      { numRuns: 40 },
    );
  });

  it('with one beam takes the best token at each step', async () => {
    const { path } = await search(5, 9, 1, 12);
    for (const [i, { token }] of path.entries()) {
      const logProbs = logProbsAfter(
        5,
        path.slice(0, i).map((one) => one.token),
        9,
      );
      logProbs[1] = Number.NEGATIVE_INFINITY;
      expect(token).toBe(logProbs.indexOf(Math.max(...logProbs)));
    }
  });
});
