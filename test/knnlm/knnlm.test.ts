import { createHash } from 'node:crypto';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../../dist/datastore/types.js';
import type {
  GeneratedToken,
  GenerateRequest,
  Generation,
} from '../../dist/knnlm/generation-types.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { readTokens } from '../../dist/knnlm/read-tokens.js';
import { SequenceReader } from '../../dist/knnlm/reader.js';
import { planWindows } from '../../dist/knnlm/windows.js';
import { type BuildDatastoreRequest, buildDatastore, openKnnLM } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const train = `${fixtures}golden/tinystories.train.jsonl`;
const valid = `${fixtures}golden/tinystories.valid.jsonl`;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-method-'));
const small: Omit<BuildDatastoreRequest, 'out'> = { model, window: 128, stride: 64 };
const settings = { k: 64, lambda: 0.3, temperature: 5 };

/** Every file of a store with its content's hash. */
function bytesOf(store: string): Record<string, string> {
  const files = readdirSync(store, { recursive: true, encoding: 'utf8' }).sort();
  return Object.fromEntries(
    files
      .filter((name) => statSync(join(store, name)).isFile())
      .map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(store, name)))
          .digest('hex'),
      ]),
  );
}

async function all(
  generator: AsyncGenerator<GeneratedToken, Generation>,
): Promise<{ yielded: GeneratedToken[]; result: Generation }> {
  const yielded: GeneratedToken[] = [];
  for (;;) {
    const { done, value } = await generator.next();
    if (done) return { yielded, result: value };
    yielded.push(value);
  }
}

let knnlm: KnnLM;
const documents: SourceDocument[] = [];
const store = join(folder, 'store');

beforeAll(async () => {
  await buildDatastore([train], { ...small, out: store, settings });
  knnlm = await openKnnLM(store);
  for await (const document of readDocuments([valid])) documents.push(document);
});

afterAll(async () => {
  await knnlm?.close();
  rmSync(folder, { recursive: true });
});

describe('buildDatastore', () => {
  it('writes the same bytes in one go and after being stopped at every acknowledgement', async () => {
    const out = join(folder, 'stopped');
    let stops = 0;
    for (let left = true; left; ) {
      const stop = new AbortController();
      let progress = 0;
      try {
        await buildDatastore([train], {
          ...small,
          out,
          settings,
          commitMs: 0,
          signal: stop.signal,
          onProgress: () => ++progress === 1 && stop.abort(),
        });
        left = false;
      } catch (error) {
        expect(error).toMatchObject({ code: 'ABORTED' });
        stops++;
      }
    }
    expect(stops).toBeGreaterThan(1);
    expect(bytesOf(out)).toEqual(bytesOf(store));
  });

  it('tells what it will cost before it begins', async () => {
    let plan:
      | { entries: number; diskBytes: number; freeDiskBytes: number; seconds: number }
      | undefined;
    const out = join(folder, 'planned');
    const built = await buildDatastore([train], {
      ...small,
      out,
      selfTune: false,
      onPlan: (told) => (plan = told),
    });
    expect(Math.abs(plan!.entries / built.entries - 1)).toBeLessThan(0.1);
    expect(Math.abs(plan!.diskBytes / built.bytes - 1)).toBeLessThan(0.1);
    expect(plan!.seconds).toBeGreaterThan(0);
  });

  it('skips documents whose text is already there', async () => {
    const skips: string[] = [];
    const copy = join(folder, 'copy.jsonl');
    cpSync(train, copy);
    const built = await buildDatastore([train, valid, copy], {
      ...small,
      out: join(folder, 'twice'),
      selfTune: false,
      onSkip: ({ reason }) => skips.push(reason),
    });
    expect(built.documents).toBe(46);
    expect(built.skipped).toBe(skips.length);
    expect(skips.length).toBe(40);
  });

  it('refuses to write over a finished store', async () => {
    await expect(buildDatastore([train], { ...small, out: store })).rejects.toMatchObject({
      code: 'STORE_EXISTS',
    });
  });

  it('refuses to go on with another model, window or key', async () => {
    const out = join(folder, 'half');
    const stop = new AbortController();
    const half = buildDatastore([train], {
      ...small,
      out,
      commitMs: 0,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await expect(half).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(buildDatastore([train], { ...small, out, window: 256 })).rejects.toThrow(/window/);
    await expect(buildDatastore([train], { ...small, out, key: 'output' })).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
    });
    await expect(buildDatastore([train], { out, window: 128, stride: 64 })).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
    });
  });
});

describe('openKnnLM', () => {
  it('refuses a store of another model, naming what differs', async () => {
    await expect(openKnnLM(store, { model: 'wiki-mini' })).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
    });
  });

  it('refuses a truncated segment and loses nothing', async () => {
    const broken = join(folder, 'broken');
    cpSync(store, broken, { recursive: true });
    const name = readdirSync(broken, { recursive: true, encoding: 'utf8' }).find(
      (file) => /keys/.test(file) && file.endsWith('f16'),
    )!;
    truncateSync(join(broken, name), statSync(join(broken, name)).size - 2);
    const before = bytesOf(broken);
    await expect(openKnnLM(broken)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect(bytesOf(broken)).toEqual(before);
  });

  it('says so when there is no store', async () => {
    await expect(openKnnLM(join(folder, 'nowhere'))).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
    });
  });
});

describe('evaluate', () => {
  it('reports the model alone and the mixture, every target once', async () => {
    const result = await knnlm.evaluate(documents);
    const tokens = documents.reduce(
      (sum, { text }) => sum + knnlm.model.tokenizer.encode(text).length + 1,
      0,
    );
    expect(result.tokens).toBe(tokens);
    expect(result.bytes).toBe(
      documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0),
    );
    expect(result.lm.perplexity).toBeCloseTo(Math.exp(result.lm.nll / tokens), 10);
    expect(result.knnlm.bitsPerByte).toBeCloseTo(result.knnlm.nll / Math.LN2 / result.bytes, 10);
    expect(result.helped + result.hurt).toBeLessThanOrEqual(1);
    expect(result.interval.lm[0]).toBeLessThan(result.lm.perplexity);
    expect(result.interval.lm[1]).toBeGreaterThan(result.lm.perplexity);
    expect(result.settings).toEqual(settings);
  });

  it('gives the model alone, exactly, when lambda is 0', async () => {
    const result = await knnlm.evaluate(documents, { lambda: 0 });
    expect(result.knnlm).toEqual(result.lm);
    expect(result.helped).toBe(0);
    expect(result.hurt).toBe(0);
  });

  it('makes stored text almost certain, unless its document is excluded', async () => {
    const stored: SourceDocument[] = [];
    for await (const document of readDocuments([train])) if (stored.push(document) === 2) break;
    const sharp = { k: 8, lambda: 0.9, temperature: 0.1 };
    const known = await knnlm.evaluate(stored, sharp);
    const excluded = await knnlm.evaluate(stored, {
      ...sharp,
      excludeDocuments: stored.map(({ id }) => id),
    });
    expect(known.knnlm.perplexity).toBeLessThan(1.3);
    expect(excluded.knnlm.perplexity).toBeGreaterThan(known.lm.perplexity);
  });

  it('retrieves from selected documents alone', async () => {
    const stored: SourceDocument[] = [];
    for await (const document of readDocuments([train])) if (stored.push(document) === 3) break;
    const [first, ...others] = stored.map(({ id }) => id) as [string, string];
    const { neighbors } = await knnlm.search('Once upon a time', {
      k: 50,
      show: 50,
      documents: { ids: [first] },
    });
    expect(neighbors.length).toBeGreaterThan(20);
    expect(new Set(neighbors.map(({ document }) => document))).toEqual(new Set([first]));
    const both = { documents: { globs: stored.map(({ id }) => id) }, excludeDocuments: others };
    expect(
      (await knnlm.search('Once upon a time', { k: 50, show: 50, ...both })).neighbors,
    ).toEqual(neighbors);
    expect(() => knnlm.evaluate(stored, { documents: { globs: ['nothing/**'] } })).toThrow(
      /nothing/,
    );
  });

  it('stops after the number of targets asked for', async () => {
    const result = await knnlm.evaluate(documents, { maxTokens: 500 });
    expect(result.tokens).toBe(500);
    expect(result.bytes).toBeLessThan(
      documents.slice(0, 2).reduce((sum, { text }) => sum + text.length, 0),
    );
  });

  it('takes a k beyond the number of entries', async () => {
    const result = await knnlm.evaluate(documents.slice(0, 1), { k: 1_000_000, maxTokens: 40 });
    expect(result.knnlm.perplexity).toBeGreaterThan(1);
  });

  it('refuses to evaluate nothing, and a document that is not stored', async () => {
    await expect(knnlm.evaluate([])).rejects.toMatchObject({ code: 'NO_DOCUMENTS' });
    expect(() => knnlm.evaluate(documents, { excludeDocuments: ['nope'] })).toThrow(/nope/);
  });
});

describe('generate', () => {
  const run = (prompt: string, request: GenerateRequest = {}): ReturnType<typeof all> =>
    all(knnlm.generate(prompt, { maxTokens: 40, ...request }));

  it('continues as the model does when lambda is 0', async () => {
    const { result } = await run('', { knn: { lambda: 0 } });
    expect(result.text).toMatch(
      /^\s?Once upon a time, there was a little girl named Lily\. She loved to play outside/,
    );
    expect(result.tokens.every(({ neighbors }) => neighbors.length === 0)).toBe(true);
  });

  it('returns what it yielded, and pieces that join to the text', async () => {
    const { yielded, result } = await run('The cat');
    expect(yielded).toEqual(result.tokens);
    expect(result.text).toBe(yielded.map(({ text }) => text).join(''));
    expect(result.finishReason).toBe('length');
  });

  it('traces each token to stored contexts, with the mixture they make', async () => {
    const { result } = await run('Lily went to the', { neighbors: 3 });
    for (const { p, pLm, pKnn, neighbors, id } of result.tokens) {
      expect(p).toBeCloseTo(settings.lambda * pKnn + (1 - settings.lambda) * pLm, 5);
      expect(neighbors.length).toBe(3);
      for (const { entry, document, position, weight, targetId } of neighbors) {
        const record = knnlm.datastore.documents.find(document)!;
        expect(record.start + position).toBe(entry);
        expect(weight).toBeGreaterThanOrEqual(0);
        expect(await knnlm.datastore.valueRange(entry, entry + 1)).toEqual(
          Uint32Array.of(targetId),
        );
      }
      if (pKnn > 0) expect(neighbors.some(({ targetId }) => targetId === id)).toBe(true);
    }
  });

  it('recites a stored document from its beginning when memory alone speaks', async () => {
    const record = [...knnlm.datastore.documents][0]!;
    const tokens = await knnlm.datastore.valueRange(record.start, record.start + 60);
    const prompt = knnlm.model.tokenizer.decode(tokens.subarray(0, 20));
    const { result } = await run(prompt, { knn: { k: 1, lambda: 1, temperature: 1 } });
    expect(result.tokens.map(({ id }) => id)).toEqual([...tokens.subarray(20)]);
    expect(result.tokens.at(-1)!.neighbors[0]!.document).toBe(record.id);
  });

  it('gives each of many at once what it gives alone, whatever the others ask for and when they stop', async () => {
    const [first, second] = knnlm.datastore.documents;
    const requests: [string, GenerateRequest][] = [
      ['Once upon a time', {}],
      ['Lily went to the', { knn: { k: 8 } }],
      ['The cat', { excludeDocuments: [first!.id, second!.id] }],
      ['One day', { knn: { lambda: 0 }, candidates: 3 }],
      ['Tom and Ben', { temperature: 1, seed: 3, topP: 0.9 }],
      ['A very long walk in the park with a dog. '.repeat(6), { neighbors: 0, maxTokens: 30 }],
      ['She said', { maxTokens: 5 }],
      ['Once upon a time', { temperature: 1, seed: 4 }],
    ];
    const alone = [];
    for (const [prompt, request] of requests) alone.push((await run(prompt, request)).result);
    const stop = new AbortController();
    const stopped = run('The end of it', { maxTokens: 100, signal: stop.signal }).catch((e) => e);
    const together = await Promise.all(
      requests.map(async ([prompt, request], i) => {
        for (let turn = 0; turn < 5 * i; turn++) await new Promise((go) => setImmediate(go));
        if (i === 4) stop.abort();
        return (await run(prompt, request)).result;
      }),
    );
    expect(await stopped).toMatchObject({ code: 'ABORTED' });
    for (const [i, { text, tokens }] of together.entries()) {
      expect(text).toBe(alone[i]!.text);
      for (const [t, token] of tokens.entries()) {
        const expected = alone[i]!.tokens[t]!;
        expect(token.id).toBe(expected.id);
        for (const p of ['p', 'pLm', 'pKnn'] as const) expect(token[p]).toBeCloseTo(expected[p], 4);
        expect(token.neighbors.map(({ entry }) => entry)).toEqual(
          expected.neighbors.map(({ entry }) => entry),
        );
      }
    }
  });

  it('goes on past the window', async () => {
    const { result } = await run('Once upon a time', {
      maxTokens: 300,
      temperature: 1,
      seed: 3,
      stop: [],
    });
    expect(result.tokens.length).toBeGreaterThan(60);
    const { result: again } = await run('Once upon a time', {
      maxTokens: 300,
      temperature: 1,
      seed: 3,
    });
    expect(again.text).toBe(result.text);
  });

  it('stops before a stop string', async () => {
    const { result: whole } = await run('Once upon a time');
    const stop = whole.text.slice(10, 16);
    const { result } = await run('Once upon a time', { stop: [stop] });
    expect(result.text).toBe(whole.text.slice(0, whole.text.indexOf(stop)));
    expect(result.finishReason).toBe('stop');
  });

  it('gives nothing for zero tokens and refuses fewer', async () => {
    expect((await run('The', { maxTokens: 0 })).result).toMatchObject({ text: '', tokens: [] });
    await expect(run('The', { maxTokens: -1 })).rejects.toThrow('not -1');
  });

  it('never retrieves an excluded document', async () => {
    const { result } = await run('Once upon a time');
    const blamed = result.tokens[5]!.neighbors[0]!.document;
    const { result: without } = await run('Once upon a time', { excludeDocuments: [blamed] });
    expect(
      without.tokens
        .flatMap(({ neighbors }) => neighbors)
        .some(({ document }) => document === blamed),
    ).toBe(false);
  });

  it('stops when told to', async () => {
    const stop = new AbortController();
    stop.abort();
    await expect(run('The', { signal: stop.signal })).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('search', () => {
  it('finds a stored context first, with its document, target and text', async () => {
    const record = [...knnlm.datastore.documents][3]!;
    const tokens = await knnlm.datastore.valueRange(record.start, record.start + 30);
    const context = knnlm.model.tokenizer.decode(tokens.subarray(0, 20));
    const { neighbors, candidates, query } = await knnlm.search(context, { show: 5 });
    expect(query).toBe(context);
    expect(neighbors.length).toBe(5);
    expect(neighbors[0]).toMatchObject({ document: record.id, position: 20, targetId: tokens[20] });
    expect(neighbors[0]!.distance).toBeLessThan(1e-2);
    expect(context.endsWith(neighbors[0]!.before.slice(-10))).toBe(true);
    expect(candidates[0]!.id).toBe(tokens[20]);
    expect(candidates[0]!.p).toBeGreaterThanOrEqual(candidates[1]!.p);
  });

  it('shows neighbors when lambda is 0, with the model alone deciding', async () => {
    const { neighbors, candidates } = await knnlm.search('The dog', { lambda: 0 });
    expect(neighbors.length).toBe(10);
    expect(candidates[0]!.p).toBeCloseTo(candidates[0]!.pLm, 6);
  });
});

it('reads a growing sequence into the keys of a full pass, past the window too', async () => {
  const whole = documents.map((document) => document.text).join('\n');
  const { inputs } = await readTokens({ text: whole }, knnlm.model);
  const plan = { window: 128, stride: 64 };
  const text = inputs.slice(0, 300);
  const reader = await SequenceReader.open(knnlm.model, plan);
  const d = knnlm.datastore.keyDim;
  const windows = [...planWindows(text.length, plan)];
  const full = await knnlm.model.keys(
    windows.map(({ start, length }) => text.slice(start, start + length)),
  );
  let worst = 0;
  for (let i = 0; i < text.length; i++) {
    const { key } = await reader.read([text[i]!]);
    const at = windows.findIndex(({ start, length }) => i < start + length);
    const row = i - windows[at]!.start;
    for (let j = 0; j < d; j++)
      worst = Math.max(worst, Math.abs(key[j]! - full[at]![row * d + j]!));
  }
  await reader.close();
  expect(worst).toBeLessThan(1e-4);
});

describe('scoreTokens', () => {
  const all = async (text: string | number[], request = {}) => {
    const scores = [];
    for await (const part of knnlm.scoreTokens(text, request)) scores.push(...part);
    return scores;
  };

  it('adds up to what evaluation says of a document, past the window too', async () => {
    const long = { ...documents[0]!, text: documents.map(({ text }) => text).join(' ') };
    const { knnlm: mixed, lm, tokens } = await knnlm.evaluate([long]);
    const scores = await all(long.text);
    expect(scores.length).toBe(tokens);
    expect(-scores.reduce((sum, { logP }) => sum + logP, 0)).toBeCloseTo(mixed.nll, 2);
    expect(-scores.reduce((sum, { logPLm }) => sum + logPLm, 0)).toBeCloseTo(lm.nll, 2);
  });

  it('tells the candidates at every position, the token among them with the same probability', async () => {
    const { text } = documents[0]!;
    const plain = await all(text.slice(0, 300), { end: false });
    const told = await all(text.slice(0, 300), { end: false, candidates: 512, neighbors: 2 });
    expect(told.length).toBe(plain.length);
    for (const [i, { id, logP, candidates, neighbors }] of told.entries()) {
      expect(logP).toBeCloseTo(plain[i]!.logP, 3);
      const own = candidates!.find((candidate) => candidate.id === id)!;
      expect(Math.log(own.p)).toBeCloseTo(logP, 4);
      expect(candidates!.reduce((sum, { p }) => sum + p, 0)).toBeCloseTo(1, 3);
      expect(neighbors.length).toBe(2);
    }
  });

  it('takes token ids, and refuses what is none', async () => {
    const [ids] = await knnlm.model.encodeDocuments(['Once upon a time']);
    const byText = await all('Once upon a time', { end: false });
    expect(await all([...ids!])).toEqual(byText);
    await expect(all([1, 9999])).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect(await all([])).toEqual([]);
  });
});

describe('inspect', () => {
  it('gives all that is needed to mix again', async () => {
    const settings = { k: 40, lambda: 0.4, temperature: 3 };
    const context = 'Once upon a time, there was a';
    const { candidates } = await knnlm.search(context, settings);
    const { prediction, distances, targets, places } = await knnlm.inspect(context, settings);
    expect([distances.length, targets.length, places.length]).toEqual([40, 40, 40]);
    const weights = distances.map((d) => Math.exp((distances[0]! - d) / 3));
    const sum = weights.reduce((a, b) => a + b, 0);
    for (const { id, p, pLm } of candidates) {
      let pKnn = 0;
      targets.forEach((target, i) => {
        if (target === id) pKnn += weights[i]! / sum;
      });
      expect(0.4 * pKnn + 0.6 * pLm).toBeCloseTo(p, 5);
      expect(Math.exp(prediction.lm[id]!)).toBeCloseTo(pLm, 6);
    }
  });
});

describe('generation', () => {
  it('goes on from token ids as from their text', async () => {
    const [ids] = await knnlm.model.encodeDocuments(['Once upon a time']);
    const texts = [];
    for (const prompt of ['Once upon a time', [...ids!]]) {
      let text = '';
      for await (const token of knnlm.generate(prompt, { maxTokens: 12 })) text += token.text;
      texts.push(text);
    }
    expect(texts[0]).toBe(texts[1]);
  });

  it('heeds a logit bias and the penalties of OpenAI’s API', async () => {
    const run = async (request: GenerateRequest) => {
      const ids = [];
      for await (const token of knnlm.generate('Once', { maxTokens: 20, ...request }))
        ids.push(token.id);
      return ids;
    };
    const plain = await run({});
    const banned = await run({ logitBias: { [plain[0]!]: -100 } });
    expect(banned).not.toContain(plain[0]);
    expect(new Set(await run({ logitBias: { [plain[3]!]: 100 } }))).toEqual(new Set([plain[3]]));
    const repeats = await run({ logitBias: { [plain[3]!]: 100 }, frequencyPenalty: 60 });
    expect(new Set(repeats).size).toBeGreaterThan(1);
    expect(new Set(await run({ presencePenalty: 100 })).size).toBe(20);
  });
});
