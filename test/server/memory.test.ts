/** /v1/knn: what the memory holds and what it says, against the library; and changes to it, from here and elsewhere. */
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { readStoreKeys } from '../../dist/experiments/read-store-keys.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { symmetricEigen } from '../../dist/math/symmetric-eigen.js';
import { addDocuments } from '../../dist/open.js';
import { type Asked, SETTINGS, stories, TestServer, TestStore } from './support.ts';

const store = new TestStore();
let knnlm: KnnLM;
let server: TestServer;

beforeAll(async () => {
  knnlm = await store.open();
  server = new TestServer(knnlm);
});

const ok = async (path: string, body?: unknown, options?: Parameters<TestServer['ask']>[2]) => {
  const { status, body: reply } = await server.ask(path, body, options);
  expect(reply.error, JSON.stringify(reply.error)).toBeUndefined();
  expect(status).toBe(200);
  return reply;
};

/** A server over a copy that may be changed. */
async function serverOfCopy(
  name: string,
  options = {},
): Promise<{ own: TestServer; path: string; memory: KnnLM }> {
  const path = join(store.folder, name);
  cpSync(store.path, path, { recursive: true });
  const memory = await store.open(path);
  return { own: new TestServer(memory, options), path, memory };
}

describe('what stands beside the neighbors', () => {
  it('is switched on by a request, told with its settings, and gives what the library gives', async () => {
    const prompt = 'Once upon a time';
    const { choices } = await ok('/v1/completions', {
      ...{ prompt, max_tokens: 12, temperature: 0 },
      knn: { cache: true, pointers: true, effort: 0.5 },
    });
    const { tokens, settings } = choices[0].knn;
    expect(settings).toEqual({
      ...{ ...SETTINGS, gate: false, effort: 0.5 },
      ...{ cache: true, pointers: true },
    });
    const generation = knnlm.generate(prompt, {
      maxTokens: 12,
      knn: { cache: true, pointers: true },
    });
    let at = 0;
    for await (const { id, p } of generation) {
      expect(tokens[at].id).toBe(id);
      expect(tokens[at++].p).toBeCloseTo(p, 5);
    }
    expect(at).toBe(12);
    const refused = await server.ask('/v1/completions', { prompt, knn: { adaptive: 0.5 } });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toContain('has not learned which searches to skip');
  });
});

describe('information', () => {
  it('tells model, stores, settings and limits, and no folder', async () => {
    const info = await ok('/v1/knn/info');
    expect(info.model).toMatchObject({
      name: 'stories260K',
      vocab_size: 512,
      key_dim: 64,
      chat: false,
    });
    expect(info.stores).toHaveLength(1);
    expect(info.stores[0]).toMatchObject({
      name: 'small.knn',
      documents: 40,
      entries: knnlm.info.entries,
      settings: { ...SETTINGS, source: 'given', gate: null },
      index: { kind: 'flat', lists: null },
    });
    expect(JSON.stringify(info)).not.toContain(store.folder);
  });

  it('counts requests and tokens, and the documents behind them', async () => {
    const fresh = new TestServer(knnlm);
    const [{ id, text }] = stories('train') as [{ id: string; text: string }];
    await fresh.ask('/v1/completions', {
      prompt: text.slice(0, 120),
      max_tokens: 5,
      temperature: 0,
    });
    const { body } = await fresh.ask('/v1/knn/statistics');
    expect(body.tokens).toMatchObject({ generated: 5, scored: 0 });
    expect(body.requests).toMatchObject({ total: 1, active: 0, waiting: 0, failed: 0 });
    expect(body.recent_tokens).toBe(5);
    expect(body.search.queries).toBeGreaterThanOrEqual(5);
    const [first] = body.contributions;
    expect(first).toMatchObject({ document: id, store: 'small.knn' });
    const { body: list } = await fresh.ask('/v1/knn/documents?limit=1');
    expect(list.documents[0].contribution).toEqual({ tokens: first.tokens, share: first.share });
    const page = await (await fresh.fetch('/metrics')).text();
    expect(page).toContain('knnlm_tokens_total{kind="generated"} 5');
    expect(page).toContain('knnlm_requests_total{route="/v1/completions",status="200"} 1');
  });
});

describe('a search', () => {
  it('is the library’s, from a text as from its token ids', async () => {
    const context = 'Once upon a time, there was';
    const request = { show: 3, around: 4 };
    const { neighbors, candidates } = await knnlm.search(context, request);
    const reply = await ok('/v1/knn/search', { context, ...request });
    expect(reply.neighbors).toEqual(
      neighbors.map(({ targetId, ...neighbor }) => ({
        ...neighbor,
        store: 'small.knn',
        target_id: targetId,
      })),
    );
    expect(reply.candidates.map(({ id, p }: Asked['body']) => [id, p])).toEqual(
      candidates.map(({ id, p }) => [id, p]),
    );
    expect(reply.settings).toEqual({ ...SETTINGS, gate: false });
    expect(reply.left_out).toEqual([]);
    const { token_ids, pieces } = reply.context;
    expect(pieces.join('')).toBe(context);
    const byIds = await ok('/v1/knn/search', { token_ids, ...request });
    expect(byIds.candidates).toEqual(reply.candidates);
    expect(byIds.context).toEqual(reply.context);
  });

  it('gives with raw all that is needed to mix again', async () => {
    const reply = await ok('/v1/knn/search', { context: 'The little dog', raw: true });
    const { raw, settings, candidates } = reply;
    expect(raw.distances).toHaveLength(settings.k);
    const weights = raw.distances.map((d: number) =>
      Math.exp((raw.distances[0] - d) / settings.temperature),
    );
    const sum = weights.reduce((all: number, weight: number) => all + weight, 0);
    for (const { id, p, p_knn } of candidates) {
      const pKnn = raw.targets.reduce(
        (all: number, target: number, i: number) => all + (target === id ? weights[i] / sum : 0),
        0,
      );
      const told = raw.candidates.find((candidate: { id: number }) => candidate.id === id);
      expect(p_knn).toBeCloseTo(pKnn, 6);
      const mixed = settings.lambda * pKnn + (1 - settings.lambda) * Math.exp(told.log_p_lm);
      expect(p).toBeCloseTo(mixed, 6);
    }
    for (const target of raw.targets)
      expect(raw.candidates.map(({ id }: { id: number }) => id)).toContain(target);
    expect(raw.document_ids[raw.documents[0]]).toBe(reply.neighbors[0].document);
  });

  it('needs a text or token ids, not both and not neither', async () => {
    for (const body of [{}, { context: 'a', token_ids: [3] }]) {
      const { status, body: reply } = await server.ask('/v1/knn/search', body);
      expect([status, reply.error.param]).toEqual([400, 'context']);
    }
  });
});

describe('a score', () => {
  const { text } = stories('valid')[0]!;

  it('is that of `knnlm eval`', async () => {
    const evaluation = await knnlm.evaluate([{ id: 'x', text, source: 'x' }]);
    const reply = await ok('/v1/knn/score', { text });
    for (const name of ['tokens', 'bytes', 'words', 'helped', 'hurt'] as const)
      expect(reply[name], name).toBe(evaluation[name]);
    for (const name of ['lm', 'knnlm'] as const) {
      expect(reply[name].nll).toBeCloseTo(evaluation[name].nll, 3);
      expect(reply[name].perplexity).toBeCloseTo(evaluation[name].perplexity, 4);
      expect(reply[name].word_perplexity).toBeCloseTo(evaluation[name].wordPerplexity, 2);
      expect(reply[name].bits_per_byte).toBeCloseTo(evaluation[name].bitsPerByte, 5);
    }
    const joined = reply.scored.map((token: { text: string }) => token.text).join('');
    expect(joined).toBe(text);
    const sum = reply.scored.reduce((all: number, { log_p }: { log_p: number }) => all - log_p, 0);
    expect(sum).toBeCloseTo(reply.knnlm.nll, 6);
    for (const { neighbors } of reply.scored) expect(neighbors).toHaveLength(1);
  });

  it('comes in parts when streamed', async () => {
    const whole = await ok('/v1/knn/score', { text, neighbors: 2 });
    const [start, ...events] = await server.events('/v1/knn/score', { text, neighbors: 2 });
    expect(start).toEqual({ type: 'start', tokens: whole.tokens, settings: whole.settings });
    const summary = events.pop();
    expect(summary).toMatchObject({ type: 'summary', knnlm: whole.knnlm });
    expect(events.flatMap(({ scored }) => scored)).toEqual(whole.scored);
    expect(events.map(({ from }) => from)[0]).toBe(0);
  });

  it('says null for what the mixture holds for impossible', async () => {
    const reply = await ok('/v1/knn/score', { text: 'Zz9', lambda: 1 });
    expect(reply.scored.some(({ log_p }: Asked['body']) => log_p === null)).toBe(true);
    expect(reply.knnlm).toMatchObject({ nll: null, perplexity: null });
    expect(reply.lm.perplexity).toBeGreaterThan(1);
  });
});

describe('documents', () => {
  it('are listed in order, a page at a time, and found by a part of their name', async () => {
    const all = stories('train').map(({ id }) => id);
    const page = await ok('/v1/knn/documents?offset=5&limit=3');
    expect(page).toMatchObject({ total: 40, offset: 5 });
    expect(page.documents.map(({ id }: { id: string }) => id)).toEqual(all.slice(5, 8));
    const some = await ok('/v1/knn/documents?query=STORY-00');
    expect(some.documents.map(({ id }: { id: string }) => id)).toEqual(
      all.filter((id) => id.includes('story-00')),
    );
    expect(some.total).toBe(some.documents.length);
    expect((await ok('/v1/knn/documents?query=nothing-like-it')).documents).toEqual([]);
  });

  it('are asked for by numbers in digits, each name once', async () => {
    const refused: [query: string, message: RegExp][] = [
      ['limit=', /^limit: .*, not ""\.$/],
      ['limit=true', /^limit: .*, not "true"\.$/],
      ['limit=0x10', /^limit: .*, not "0x10"\.$/],
      ['limit=-1', /^limit: .*, not "-1"\.$/],
      ['limit=1001', /^limit: .*1000/],
      ['limit=5&limit=7', /^"limit" is given twice\. Give it once\.$/],
      ['__proto__=1', /__proto__/],
    ];
    for (const [query, message] of refused) {
      const { status, body } = await server.ask(`/v1/knn/documents?${query}`);
      expect([query, status]).toEqual([query, 400]);
      expect(body.error.message).toMatch(message);
    }
    expect((await ok('/v1/knn/documents?limit=0')).documents).toEqual([]);
    expect((await ok('/v1/knn/documents?query=')).total).toBe(40);
  });

  it('are read around a position, or from one, by tokens that join to their text', async () => {
    const { id, text } = stories('train')[3]!;
    const path = `/v1/knn/documents/${encodeURIComponent(id)}`;
    const whole = await ok(path);
    expect(whole.pieces.join('')).toBe(text);
    expect(whole.pieces.at(-1)).toBe('');
    expect(whole.token_ids.at(-1)).toBe(knnlm.model.tokenizer.eos);
    expect(whole.total).toBe(whole.document.entries);
    const part = await ok(`${path}?position=20&around=3`);
    expect([part.from, part.pieces]).toEqual([17, whole.pieces.slice(17, 24)]);
    const rest = await ok(`${path}?from=${whole.total - 2}&limit=4096`);
    expect(rest.token_ids).toEqual(whole.token_ids.slice(-2));
    expect((await ok(`${path}?from=999999`)).pieces).toEqual([]);
  });

  it.each([
    ['/v1/knn/documents/nobody', 404, 'document_not_found'],
    ['/v1/knn/documents?store=other', 404, 'store_not_found'],
    ['/v1/knn/documents?offset=-1', 400, null],
    ['/v1/knn/documents?limt=1', 400, null],
    ['/v1/knn/map?sample=x', 400, null],
  ])('%s is refused with %d', async (path, status, code) => {
    const asked = await server.ask(path);
    expect([asked.status, asked.body.error.code]).toEqual([status, code]);
  });

  it('are added and retrieved by the next request, and gone with the one after their removal', async () => {
    const { own } = await serverOfCopy('changing.knn');
    const text = 'Zed the zebra zigzagged to the zoo and ate zucchini.';
    const id = 'animals/zed the zebra.txt';
    const path = `/v1/knn/documents/${encodeURIComponent(id)}`;
    const retrieved = async () => {
      const { body } = await own.ask('/v1/knn/search', {
        context: 'Zed the zebra zigzagged',
        show: 16,
      });
      return body.neighbors.some(({ document }: { document: string }) => document === id);
    };
    expect(await retrieved()).toBe(false);
    const { body: added } = await own.ask('/v1/knn/documents', {
      id,
      text,
      metadata: { kind: 'animal' },
    });
    expect(added).toMatchObject({ id, store: 'changing.knn', replaced: false });
    expect(added.stored.documents).toBe(41);
    expect(await retrieved()).toBe(true);
    const { body: read } = await own.ask(path);
    expect(read.pieces.join('')).toBe(text);
    expect(read.document).toMatchObject({ id, source: 'request', metadata: { kind: 'animal' } });
    const { body: removed } = await own.ask(path, undefined, { method: 'DELETE' });
    expect(removed).toMatchObject({ id, entries: added.entries });
    expect(await retrieved()).toBe(false);
    expect((await own.ask(path)).status).toBe(404);
    expect((await own.ask(path, undefined, { method: 'DELETE' })).status).toBe(404);
  });

  it('of a known id are replaced only when that is said; an equal text is nothing new', async () => {
    const { own } = await serverOfCopy('replaced.knn');
    const { id, text } = stories('train')[0]!;
    const same = await own.ask('/v1/knn/documents', { id, text });
    expect([same.status, same.body.entries]).toEqual([200, 0]);
    const refused = await own.ask('/v1/knn/documents', { id, text: 'Another text.' });
    expect([refused.status, refused.body.error.code]).toEqual([409, 'document_exists']);
    const events = await own.events('/v1/knn/documents', {
      id,
      text: 'Another text.',
      replace: true,
    });
    expect(events.at(-1)).toMatchObject({ type: 'added', id, replaced: true });
    expect(events[0].type).toBe('progress');
    const { body } = await own.ask(`/v1/knn/documents/${encodeURIComponent(id)}`);
    expect(body.pieces.join('')).toBe('Another text.');
  });

  it('changed at the same time are changed one after another', async () => {
    const { own } = await serverOfCopy('crowded.knn');
    const names = ['a', 'b', 'c', 'd'];
    const replies = await Promise.all(
      names.map((id) => own.ask('/v1/knn/documents', { id, text: `The letter ${id} is here.` })),
    );
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await own.ask('/v1/knn/documents')).body.total).toBe(44);
  });

  it('are not changed on a server that only reads', async () => {
    const reader = new TestServer(knnlm, { readOnly: true });
    const add = await reader.ask('/v1/knn/documents', { id: 'a', text: 'b' });
    const remove = await reader.ask('/v1/knn/documents/a', undefined, { method: 'DELETE' });
    expect([add.status, remove.status, add.body.error.code]).toEqual([403, 403, 'read_only']);
    expect((await reader.ask('/v1/knn/info')).body.writable).toBe(false);
  });

  it('too deep in their metadata, empty of an id, or of an unknown store are refused', async () => {
    const deep = `{"id":"x","text":"y","metadata":{"a":${'['.repeat(5000)}${']'.repeat(5000)}}}`;
    for (const body of [deep, { id: '', text: 'y' }, { id: 'x' }]) {
      expect((await server.ask('/v1/knn/documents', body)).status).toBe(400);
    }
    const other = await server.ask('/v1/knn/documents', { id: 'x', text: 'y', store: 'other' });
    expect(other.status).toBe(404);
  });
});

describe('what another process does to a store', () => {
  it('holds from the next request on', async () => {
    const { own, path } = await serverOfCopy('elsewhere.knn');
    expect((await own.ask('/v1/knn/documents')).body.total).toBe(40);
    const { id, text } = stories('train')[0]!;
    await removeDocuments(path, { ids: [id] });
    const { body } = await own.ask('/v1/knn/search', { context: text.slice(0, 200), show: 16 });
    expect(body.neighbors.map(({ document }: { document: string }) => document)).not.toContain(id);
    await addDocuments(path, [
      join(import.meta.dirname, '../fixtures/golden/tinystories.valid.jsonl'),
    ]);
    expect((await own.ask('/v1/knn/info')).body.stores[0].documents).toBe(45);
  });

  it('changes the fingerprint of the system, and nothing else does', async () => {
    const { own, path } = await serverOfCopy('marked.knn');
    const fingerprint = async () => {
      const { body } = await own.ask('/v1/completions', { prompt: 'a', max_tokens: 1 });
      return body.system_fingerprint;
    };
    const before = await fingerprint();
    expect(await fingerprint()).toBe(before);
    await removeDocuments(path, { ids: [stories('train')[0]!.id] });
    expect(await fingerprint()).not.toBe(before);
  });
});

describe('several stores', () => {
  it('are searched as one, told apart, and picked by name', async () => {
    const other = join(store.folder, 'other.knn');
    cpSync(store.path, other, { recursive: true });
    await removeDocuments(other, { ids: [stories('train')[0]!.id] });
    const both = new TestServer(await store.open([store.path, other]));
    const context = stories('train')[1]!.text.slice(0, 100);
    const storesOf = async (fields: object) => {
      const { body } = await both.ask('/v1/knn/search', { context, show: 16, ...fields });
      return new Set(body.neighbors.map((neighbor: { store: string }) => neighbor.store));
    };
    expect(await storesOf({})).toEqual(new Set(['small.knn', 'other.knn']));
    expect(await storesOf({ stores: ['other.knn'] })).toEqual(new Set(['other.knn']));
    const { body: list } = await both.ask('/v1/knn/documents');
    expect(list.total).toBe(79);
    expect((await both.ask('/v1/knn/documents?store=other.knn')).body.total).toBe(39);
    const ambiguous = await both.ask('/v1/knn/documents', { id: 'a', text: 'b' });
    expect([ambiguous.status, ambiguous.body.error.param]).toEqual([400, 'store']);
  });
});

describe('a map of keys', () => {
  it('has the first two principal components of the sample', async () => {
    const map = await ok('/v1/knn/map?sample=60');
    const d = knnlm.datastore.keyDim;
    const keys = await readStoreKeys(knnlm.datastore, knnlm.datastore.entries);
    const rows = map.entries.map((entry: number) => keys.subarray(entry * d, (entry + 1) * d));
    const mean = Float64Array.from({ length: d }, (_, j) =>
      rows.reduce((sum: number, row: Float32Array) => sum + row[j]! / rows.length, 0),
    );
    const covariance = new Float64Array(d * d);
    for (const row of rows)
      for (let i = 0; i < d; i++)
        for (let j = 0; j < d; j++)
          covariance[i * d + j]! += (row[i] - mean[i]!) * (row[j] - mean[j]!);
    const total = Array.from({ length: d }, (_, i) => covariance[i * d + i]!).reduce(
      (a, b) => a + b,
    );
    const { values } = symmetricEigen(covariance, d);
    const squares = (list: number[]) => list.reduce((sum, value) => sum + value ** 2, 0);
    expect(squares(map.x) / values[0]!).toBeCloseTo(1, 4);
    expect(squares(map.y) / values[1]!).toBeCloseTo(1, 4);
    expect(map.variance[0]).toBeCloseTo(values[0]! / total, 4);
    expect(map.document_ids[map.documents[0]]).toBe(stories('train')[0]!.id);
  });

  it('shows a context where its key would lie', async () => {
    const map = await ok('/v1/knn/map?sample=60');
    const [i] = [20];
    const id = map.document_ids[map.documents[i!]];
    const { token_ids } = await ok(
      `/v1/knn/documents/${encodeURIComponent(id)}?limit=${map.positions[i!]}`,
    );
    const { x, y } = await ok('/v1/knn/map/project', { token_ids, sample: 60 });
    expect(x).toBeCloseTo(map.x[i!], 1);
    expect(y).toBeCloseTo(map.y[i!], 1);
  });
});
