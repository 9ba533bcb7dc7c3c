/** Several datastores searched as one: on made-up keys by the hundred, and on a real model. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { neighborWeights } from '../../dist/knnlm/interpolate.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { OpenStores } from '../../dist/knnlm/open-stores.js';
import { neighborRow } from '../../dist/knnlm/retriever.js';
import { Snapshot } from '../../dist/knnlm/snapshot.js';
import type { Neighbor, RetrievalRequest } from '../../dist/knnlm/types.js';
import { searchedAlone, Weigher } from '../../dist/knnlm/weigh.js';
import { addDocuments, buildDatastore, openKnnLM } from '../../dist/open.js';
import {
  type FakeDocument,
  fakeDocument,
  fakeEntries,
  header,
  settings,
  temporaryFolder,
} from '../datastore/support.ts';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;

async function writeStore(path: string, documents: readonly FakeDocument[]): Promise<void> {
  const writer = await DatastoreWriter.open(path, header());
  for (const document of documents) {
    await writer.beginDocument(document);
    const { keys, values } = fakeEntries(document, 0, document.length);
    await writer.append(keys, values);
    await writer.endDocument();
  }
  await writer.finish(settings);
}

const flat = (store: Datastore) =>
  FlatIndex.open({ sources: store.keySources(), dim: store.keyDim, threads: 1 });

async function openStores(paths: readonly string[]): Promise<OpenStores> {
  const snapshots = await Promise.all(
    paths.map(async (path) => Snapshot.open(await Datastore.open(path), flat)),
  );
  return new OpenStores(
    paths.map((_, i) => `store ${i}`),
    snapshots,
  );
}

describe('the union of several datastores', () => {
  it('answers every query as one datastore of all their documents, removed ones left out', async () => {
    const lengths = fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(lengths, { minLength: 2, maxLength: 4 }),
        fc.integer({ min: 1, max: 60 }),
        fc.infiniteStream(fc.boolean()),
        async (stores, k, removals) => {
          const place = temporaryFolder();
          const all: FakeDocument[] = [];
          const gone: string[] = [];
          const paths: string[] = [];
          for (const [s, own] of stores.entries()) {
            const documents = own.map((length, i) => fakeDocument(`${s}-${i}`, length));
            const path = join(place, `${s}`);
            await writeStore(path, documents);
            const ids = documents.map(({ id }) => id).filter(() => removals.next().value);
            if (ids.length > 0) await removeDocuments(path, { ids });
            gone.push(...ids);
            all.push(...documents);
            paths.push(path);
          }
          const one = join(place, 'one');
          await writeStore(one, all);
          if (gone.length > 0) await removeDocuments(one, { ids: gone });
          const queries = fakeEntries(fakeDocument('query', 6), 0, 6).keys;
          const [union, single] = await Promise.all([openStores(paths), openStores([one])]);
          try {
            const asked = await union.retriever.retrieve(queries, { k });
            const expected = await single.retriever.retrieve(queries, { k });
            expect(asked.ids).toEqual(expected.ids);
            expect(asked.distances).toEqual(expected.distances);
            const found = (_: number, i: number) => asked.ids[i]! >= 0;
            expect(asked.values.filter(found)).toEqual(expected.values.filter(found));
            const ids = asked.ids.filter((id) => id >= 0);
            for (const id of ids) {
              const here = union.retriever.datastore.documents.locate(id);
              const there = single.retriever.datastore.documents.locate(id);
              expect(here).toMatchObject({ document: there.document, position: there.position });
              expect(here.store).toBe(`store ${here.document.id.split('-')[0]}`);
            }
          } finally {
            await Promise.all([union.release(), single.release()]);
            rmSync(place, { recursive: true });
          }
        },
      ),
      { numRuns: 20 },
    );
  });

  it('gives each store a λ and k neighbors of its own: Σ λ_s p_s + (1 − Σ λ_s) p_LM', async () => {
    const place = temporaryFolder();
    const paths = ['a', 'b'].map((name) => join(place, name));
    await writeStore(paths[0]!, [fakeDocument('a', 40)]);
    await writeStore(paths[1]!, [fakeDocument('b', 3)]);
    const union = await openStores(paths);
    onTestFinished(() => union.release());
    const queries = fakeEntries(fakeDocument('query', 3), 0, 3).keys;
    const lambdas = union.stores.map(({ name, range }, s) => ({
      name,
      range,
      lambda: [0.5, 0.2][s]!,
    }));
    const within = lambdas.map(({ range }) => range);
    const found = await union.retriever.retrieve(queries, { k: 5, within });
    expect(found.k).toBe(8);
    const weigher = new Weigher({ k: 5, temperature: 3, lambda: 0.7, lambdas });
    for (let query = 0; query < 3; query++) {
      const row = neighborRow(found, query);
      const { lambda, weights } = weigher.weigh(searchedAlone(row));
      expect(lambda).toBeCloseTo(0.7, 12);
      for (const { range, lambda: own } of lambdas) {
        const alone = await union.retriever.retrieve(queries, { k: 5, within: [range] });
        const { distances, ids } = neighborRow(alone, query);
        const shares = neighborWeights(distances, 3);
        for (let i = 0; i < shares.length; i++) {
          const at = Array.from(row.ids).indexOf(ids[i]!);
          expect(row.distances[at]).toBe(distances[i]);
          expect(weights[at]! * 0.7).toBeCloseTo(own * shares[i]!, 12);
        }
      }
    }
  });

  it('gives the λ of a store without neighbors to the model', async () => {
    const lambdas = [
      { name: 'a', lambda: 0.5, range: [0, 10] as const },
      { name: 'b', lambda: 0.3, range: [10, 20] as const },
    ];
    const weigher = new Weigher({ k: 2, temperature: 1, lambda: 0.8, lambdas });
    const row = { ids: [4, -1], distances: [1, Number.POSITIVE_INFINITY], values: [7, 0] };
    expect(weigher.weigh(searchedAlone(row))).toEqual({
      lambda: 0.5,
      weights: Float64Array.of(1, 0),
    });
  });
});

describe('openKnnLM with several datastores', () => {
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-stores-'));
  const [first, second, both] = ['first', 'second', 'both'].map((name) => join(folder, name));
  const own = { k: 16, lambda: 0.4, temperature: 5 };
  const build = { model, window: 128, stride: 64, settings: own };
  const stories: { id: string; text: string }[] = [];
  let knnlm: KnnLM;

  function file(name: string, documents: readonly { id: string; text: string }[]): string {
    const path = join(folder, `${name}.jsonl`);
    writeFileSync(path, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
    return path;
  }

  const withoutPlace = ({ entry: _, store: __, ...neighbor }: Neighbor) => neighbor;

  async function nearest(memory: KnnLM, context: string, request: RetrievalRequest = {}) {
    return (await memory.search(context, { ...request, show: 16 })).neighbors;
  }

  beforeAll(async () => {
    for await (const { id, text } of readDocuments([`${fixtures}golden/tinystories.train.jsonl`]))
      if (stories.push({ id, text: text.slice(0, 500) }) === 7) break;
    await buildDatastore([file('first', stories.slice(0, 3))], { ...build, out: first! });
    await buildDatastore([file('second', stories.slice(3, 6))], {
      ...build,
      out: second!,
      settings: { k: 8, lambda: 0.1, temperature: 2 },
    });
    cpSync(first!, both!, { recursive: true });
    await addDocuments(both!, [file('second', stories.slice(3, 6))]);
    knnlm = await openKnnLM([first!, second!]);
  });

  afterAll(async () => {
    await knnlm.close();
    rmSync(folder, { recursive: true });
  });

  it('searches, evaluates and generates as one datastore of both, and says which store a neighbor is from', async () => {
    const one = await openKnnLM(both!);
    onTestFinished(() => one.close());
    expect(knnlm.stores.map(({ name, info }) => [name, info.documents])).toEqual([
      ['first', 3],
      ['second', 3],
    ]);
    for (const { text } of stories) {
      const found = await nearest(knnlm, text.slice(0, 120));
      const expected = await nearest(one, text.slice(0, 120));
      expect(found.map(withoutPlace)).toEqual(expected.map(withoutPlace));
      for (const { store, document } of found) {
        const number = stories.findIndex(({ id }) => id === document);
        expect(store).toBe(number < 3 ? 'first' : 'second');
      }
    }
    const heldOut = stories.slice(6).map((story) => ({ ...story, source: 'test' }));
    const [here, there] = [await knnlm.evaluate(heldOut), await one.evaluate(heldOut)];
    expect(here.knnlm).toEqual(there.knnlm);
    expect(here.settings).toEqual({ ...own, stores: ['first', 'second'] });
    const write = async (memory: KnnLM) => {
      const tokens = [];
      for await (const token of memory.generate('Once upon a time', { maxTokens: 8 })) {
        const { text, p, neighbors } = token;
        tokens.push({ text, p, neighbors: neighbors.map(withoutPlace) });
      }
      return tokens;
    };
    expect(await write(knnlm)).toEqual(await write(one));
  });

  it('reads the stores that a request picks, with the settings of the first of them', async () => {
    const alone = await openKnnLM(second!);
    onTestFinished(() => alone.close());
    const context = stories[0]!.text.slice(0, 120);
    const found = await knnlm.search(context, { stores: ['second'], show: 8 });
    const expected = await alone.search(context, { show: 8 });
    expect(found.neighbors.map(withoutPlace)).toEqual(expected.neighbors.map(withoutPlace));
    expect(found.candidates).toEqual(expected.candidates);
    expect(found.settings).toEqual({ k: 8, lambda: 0.1, temperature: 2, stores: ['second'] });
    expect(knnlm.settings({ stores: ['second', 'first'] })).toMatchObject({ k: 8 });
    expect(knnlm.settings({ lambda: 0.5 })).toMatchObject({ k: 16, lambda: 0.5 });
  });

  it('mixes the stores by a λ each', async () => {
    const context = stories[4]!.text.slice(0, 120);
    const request = { k: 8, temperature: 4, show: 16 };
    const lambdas = { first: 0.3, second: 0.5 };
    const mixed = await knnlm.search(context, { ...request, lambdas });
    expect(mixed.settings).toEqual({
      k: 8,
      temperature: 4,
      lambda: 0.8,
      stores: ['first', 'second'],
      lambdas,
    });
    const parts = await Promise.all(
      Object.entries(lambdas).map(async ([store, lambda]) => ({
        lambda,
        found: await knnlm.search(context, { ...request, stores: [store], lambda }),
      })),
    );
    expect(mixed.neighbors).toHaveLength(16);
    for (const { id, p, pLm } of mixed.candidates) {
      const votes = parts.map(({ lambda, found }) => {
        const own = found.neighbors.filter(({ targetId }) => targetId === id);
        return lambda * own.reduce((sum, { weight }) => sum + weight, 0);
      });
      expect(p).toBeCloseTo(0.2 * pLm + votes[0]! + votes[1]!, 6);
    }
    const document = { ...stories[6]!, source: 'test' };
    const without = await knnlm.evaluate([document], { lambdas: { first: 0, second: 0 } });
    expect(without.knnlm).toEqual(without.lm);
    const scored = await knnlm.evaluate([document], { lambdas });
    expect(scored.knnlm.nll).not.toBe(scored.lm.nll);
    // One store's λ alone is the paper's mixture.
    const alone = await knnlm.evaluate([document], { k: 8, lambdas: { second: 0.1 } });
    const paper = await knnlm.evaluate([document], { k: 8, temperature: 5, stores: ['second'] });
    expect(knnlm.settings({ lambdas: { second: 0.1 } }).temperature).toBe(2);
    expect(alone.knnlm.nll).not.toBe(paper.knnlm.nll);
    const same = { k: 8, temperature: 5 };
    const left = await knnlm.evaluate([document], { ...same, lambdas: { second: 0.1 } });
    const right = await knnlm.evaluate([document], { ...same, stores: ['second'], lambda: 0.1 });
    expect(left.knnlm.nll).toBeCloseTo(right.knnlm.nll, 9);
  });

  it('changes the store that is named, and takes up changes of any', async () => {
    const [a, b] = ['one', 'two'].map((name) => join(folder, 'copies', name));
    cpSync(first!, a!, { recursive: true });
    cpSync(second!, b!, { recursive: true });
    const memory = await openKnnLM([a!, b!]);
    onTestFinished(() => memory.close());
    await expect(memory.remove({ ids: [stories[0]!.id] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('Say which one'),
    });
    const { text } = stories[4]!;
    const context = text.slice(0, text.indexOf('.', 100) + 1);
    expect((await nearest(memory, context))[0]).toMatchObject({ store: 'two' });
    await memory.remove({ ids: [stories[4]!.id] }, { store: 'two' });
    const documents = async () => (await nearest(memory, context)).map((one) => one.document);
    expect(await documents()).not.toContain(stories[4]!.id);
    await memory.compact({ store: 'two' });
    expect(memory.stores.map(({ info }) => info.documents)).toEqual([3, 2]);
    await memory.add([{ ...stories[4]!, source: 'memory' }], { store: 'one' });
    expect((await nearest(memory, context))[0]).toMatchObject({
      store: 'one',
      document: stories[4]!.id,
    });
    await removeDocuments(b!, { globs: ['**'] });
    expect(await memory.refresh()).toBe(true);
    expect(await memory.refresh()).toBe(false);
    expect(memory.stores.map(({ info }) => info.documents)).toEqual([4, 0]);
    const { candidates } = await memory.search(context, { stores: ['two'] });
    for (const { p, pLm } of candidates) expect(p).toBe(pLm);
  });

  it('tunes a union without keeping what is nobody’s own', async () => {
    const heldOut = stories.slice(6).map((story) => ({ ...story, source: 'test' }));
    const tuning = await knnlm.tune(heldOut, { maxTokens: 60 });
    expect(tuning).toMatchObject({ saved: false, overlap: { stored: [] } });
    await expect(knnlm.tune(heldOut, { save: true })).rejects.toThrow(/cannot be kept/);
    expect(knnlm.stores[0]!.datastore.settings).toMatchObject(own);
  });

  it('refuses what does not fit together, by name', async () => {
    const other = join(folder, 'other');
    await buildDatastore([file('other', stories.slice(0, 2))], {
      ...build,
      key: 'attention-input',
      out: other,
    });
    await expect(openKnnLM([first!, other])).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
      message: expect.stringMatching(/first and .*other cannot be searched together.*key tensor/),
    });
    const narrow = join(folder, 'narrow');
    const inputs = [file('narrow', stories.slice(0, 2))];
    await buildDatastore(inputs, { ...build, window: 64, stride: 32, out: narrow });
    await expect(openKnnLM([first!, narrow])).rejects.toThrow(/window 128 .* 64 and 32/);
    await expect(openKnnLM([first!, `${first}/`])).rejects.toThrow(/given twice/);
    await expect(openKnnLM([])).rejects.toThrow(/No datastore was given/);
    await expect(openKnnLM([first!, join(folder, 'nowhere')])).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
    });
    const wrong: [RetrievalRequest, RegExp][] = [
      [{ stores: ['third'] }, /No open datastore is called "third".*first, second/],
      [{ stores: [] }, /at least one/],
      [{ lambdas: { first: 0.7, second: 0.4 } }, /add up to 1.1/],
      [{ lambdas: { first: 1.5 } }, /lambda of first .* not 1.5/],
      [{ lambdas: { first: 0.5 }, lambda: 0.2 }, /not both/],
      [{ lambdas: { first: 0.5 }, stores: ['first', 'second'] }, /nothing of second/],
      [{ lambdas: { first: 0.5, second: 0.1 }, stores: ['first'] }, /does not read/],
      [{ lambdas: { first: 0.5 }, gate: true }, /no gate/],
    ];
    for (const [request, message] of wrong)
      await expect(knnlm.search('x', request)).rejects.toThrow(message);
    expect(knnlm.settings({ lambdas: { first: 0.1 + 0.2, second: 0.7 } }).lambda).toBe(1);
  });

  it('calls stores in folders of the same name by their paths', async () => {
    const copy = join(folder, 'deeper', 'first');
    cpSync(second!, copy, { recursive: true });
    const memory = await openKnnLM([first!, copy, second!]);
    onTestFinished(() => memory.close());
    expect(memory.stores.map(({ name }) => name)).toEqual([first, copy, 'second']);
  });
});
