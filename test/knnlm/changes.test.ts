/** Documents added, removed, replaced and compacted: what searches answer, on a real model and on made-up keys by the hundred. */
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { compactDatastore } from '../../dist/datastore/compact-datastore.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import { verifyDatastore } from '../../dist/datastore/verify-datastore.js';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { removeWithReceipt } from '../../dist/knnlm/removal-receipt.js';
import { halfToFloats } from '../../dist/math/half.js';
import { addDocuments, buildDatastore, listDocuments, openKnnLM } from '../../dist/open.js';
import { changesSuite } from './changes-suite.ts';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-changes-'));
const built = join(folder, 'built');
const options = { k: 32, lambda: 0.3, temperature: 5 };
const stories: { id: string; text: string }[] = [];

/** A .jsonl file of documents. */
function file(name: string, documents: readonly { id: string; text: string }[]): string {
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
  return path;
}

/** Whole sentences from the start, so that they are cut into the tokens that were stored. */
const beginning = (text: string): string => text.slice(0, text.indexOf('.', 100) + 1);

let copies = 0;

/** A store of its own for a test, opened. */
async function opened(from = built): Promise<KnnLM> {
  const path = join(folder, `copy-${copies++}`);
  cpSync(from, path, { recursive: true });
  const knnlm = await openKnnLM(path);
  onTestFinished(() => knnlm.close());
  return knnlm;
}

const neighborsOf = async (knnlm: KnnLM, context: string) =>
  (await knnlm.search(context, { ...options, show: 32 })).neighbors;

const placesOf = async (knnlm: KnnLM, context: string) =>
  (await neighborsOf(knnlm, context)).map(({ document, position }) => `${document} ${position}`);

beforeAll(async () => {
  for await (const { id, text } of readDocuments([`${fixtures}golden/tinystories.train.jsonl`]))
    if (stories.push({ id, text: text.slice(0, 600) }) === 10) break;
  const inputs = [file('first', stories.slice(0, 6))];
  await buildDatastore(inputs, { model, window: 128, stride: 64, out: built, settings: options });
});

afterAll(() => rmSync(folder, { recursive: true }));

describe('an open store', () => {
  it('finds what was just added, without its model or its index being loaded again', async () => {
    const knnlm = await opened();
    const { model: loaded } = knnlm;
    const added = stories[7]!;
    const result = await knnlm.add([{ ...added, source: 'memory' }]);
    expect(result).toMatchObject({ documents: 1, replaced: 0, stored: { documents: 7 } });
    expect(knnlm.info.entries).toBe(result.stored.entries);
    const context = beginning(added.text);
    const [nearest] = await neighborsOf(knnlm, context);
    expect(nearest).toMatchObject({ document: added.id });
    expect(nearest!.distance).toBeLessThan(1e-2);
    expect(knnlm.model).toBe(loaded);
    // As a reader that has just opened it.
    const again = await openKnnLM(knnlm.datastore.path);
    onTestFinished(() => again.close());
    expect(await neighborsOf(again, context)).toEqual(await neighborsOf(knnlm, context));
    expect(await knnlm.refresh()).toBe(false);
  });

  it('retrieves nothing of a removed document by the very next query, and else the same', async () => {
    const knnlm = await opened();
    const gone = stories[2]!;
    const context = beginning(gone.text);
    expect((await neighborsOf(knnlm, context))[0]).toMatchObject({ document: gone.id });
    await knnlm.remove({ ids: [gone.id] });
    expect((await neighborsOf(knnlm, context)).map(({ document }) => document)).not.toContain(
      gone.id,
    );
    await expect(knnlm.search('x', { excludeDocuments: [gone.id] })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    const never = join(folder, 'never');
    const rest = stories.slice(0, 6).filter((story) => story !== gone);
    const inputs = [file('never', rest)];
    await buildDatastore(inputs, { model, window: 128, stride: 64, out: never, settings: options });
    const without = await openKnnLM(never);
    onTestFinished(() => without.close());
    for (const story of stories) {
      const question = story.text.slice(0, 150);
      expect(await placesOf(knnlm, question)).toEqual(await placesOf(without, question));
    }
    const before = await placesOf(knnlm, context);
    await knnlm.compact();
    expect(await placesOf(knnlm, context)).toEqual(before);
    expect(knnlm.info).toMatchObject({ deleted: 0, documents: 5 });
    // Values are those of the store that never had it, byte for byte; keys to the rounding of other batches.
    const bytesOf = (path: string, name: string) =>
      readFileSync(join(path, 'segments/000000', name));
    const compacted = knnlm.datastore.path;
    expect(bytesOf(compacted, 'values.u16').equals(bytesOf(never, 'values.u16'))).toBe(true);
    const keys = [compacted, never].map((path) => bytesOf(path, 'keys.f16'));
    const [ours, theirs] = keys.map((bytes) => {
      const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2);
      const floats = new Float32Array(halves.length);
      halfToFloats(floats, halves);
      return floats;
    });
    for (let i = 0; i < ours!.length; i++)
      expect(Math.abs(ours![i]! - theirs![i]!)).toBeLessThanOrEqual(
        2 ** -10 * Math.abs(theirs![i]!) + 1e-5,
      );
    const told = async (path: string) =>
      (await listDocuments(path)).map(({ source: _, ...document }) => document);
    expect(await told(compacted)).toEqual(await told(never));
  });

  it('takes up what another process has changed, while requests under way end on what they began with', async () => {
    const knnlm = await opened();
    const { path } = knnlm.datastore;
    const prompt = stories[1]!.text.slice(0, 60);
    const write = (source: KnnLM) =>
      source.generate(prompt, { maxTokens: 12, knn: { ...options, lambda: 0.9 } });
    const undisturbed: string[] = [];
    for await (const { text } of write(knnlm)) undisturbed.push(text);
    const texts: string[] = [];
    let steps = 0;
    for await (const { text } of write(knnlm)) {
      texts.push(text);
      if (++steps !== 3) continue;
      await removeDocuments(path, { ids: [stories[1]!.id] });
      await addDocuments(path, [file('later', stories.slice(8))]);
      await compactDatastore(path);
      expect(await knnlm.refresh()).toBe(true);
    }
    expect(texts).toEqual(undisturbed);
    expect(knnlm.info.documents).toBe(7);
    expect(await placesOf(knnlm, prompt)).not.toContainEqual(
      expect.stringContaining(stories[1]!.id),
    );
  });

  it('answers from the model alone when every document has been removed', async () => {
    const knnlm = await opened();
    await knnlm.remove({ globs: ['**'] });
    const { neighbors, candidates } = await knnlm.search(stories[0]!.text.slice(0, 50), options);
    expect(neighbors).toEqual([]);
    for (const { p, pLm } of candidates) expect(p).toBe(pLm);
    await knnlm.compact();
    expect((await knnlm.search('Once', options)).neighbors).toEqual([]);
    await expect(openKnnLM(knnlm.datastore.path)).rejects.toMatchObject({
      code: 'NO_DOCUMENTS',
      message: expect.stringContaining('knnlm add'),
    });
    await knnlm.add([{ ...stories[9]!, source: 'memory' }]);
    expect((await neighborsOf(knnlm, beginning(stories[9]!.text)))[0]).toMatchObject({
      document: stories[9]!.id,
    });
  });
});

describe('addDocuments', () => {
  it('goes on where it was stopped, refuses another text under a stored id, and replaces it when told to', async () => {
    const path = join(folder, 'added');
    cpSync(built, path, { recursive: true });
    const inputs = [file('more', stories.slice(5, 9))];
    const stop = new AbortController();
    const stopped = addDocuments(path, inputs, {
      commitMs: 0,
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await stopped.catch((error: unknown) => expect(error).toMatchObject({ code: 'ABORTED' }));
    await addDocuments(path, inputs);
    expect((await listDocuments(path)).map(({ id }) => id)).toEqual(
      stories.slice(0, 9).map(({ id }) => id),
    );
    const changed = [file('changed', [{ id: stories[3]!.id, text: 'A new ending. The end.' }])];
    await expect(addDocuments(path, changed)).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
    const result = await addDocuments(path, changed, { replace: true });
    expect(result).toMatchObject({ documents: 1, replaced: 1, stored: { documents: 9 } });
    expect(await addDocuments(path, changed, { replace: true })).toMatchObject({ documents: 0 });
    expect((await verifyDatastore(path)).problems).toEqual([]);
  });
});

describe('removeWithReceipt', () => {
  it('says what was removed, and looks for it with its own keys and in every file', async () => {
    const path = join(folder, 'receipt');
    cpSync(built, path, { recursive: true });
    const [first, , third] = await listDocuments(path);
    const ids = [first!.id, third!.id];
    const { receipt } = await removeWithReceipt(path, { ids }, { compact: true });
    expect(receipt.documents).toEqual(
      [first!, third!].map(({ id, source, hash, start, length }) => ({
        id,
        source,
        hash,
        entries: length,
        range: [start, start + length],
      })),
    );
    const { idsFound, search, files } = receipt.checks;
    expect(search.queries).toBeGreaterThan(50);
    // The control: without the exclusion each own key is found.
    expect(search.foundWithoutExclusion).toBe(search.queries);
    expect([idsFound, search.found]).toEqual([0, 0]);
    expect(files).toMatchObject({ keysFound: 0, hashesFound: 0 });
    expect(files!.keysSearched).toBeGreaterThan(100);
    const names = readdirSync(path, { recursive: true, encoding: 'utf8' });
    expect(files!.files).toBe(names.filter((name) => statSync(join(path, name)).isFile()).length);
  });
});

changesSuite('searches', {
  open: (store) => FlatIndex.open({ sources: store.keySources(), dim: store.keyDim, threads: 1 }),
  compact: (path) => compactDatastore(path),
  sequences: 8,
});
