import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import type { StoreHeader } from '../../dist/datastore/manifest.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { lockStore } from '../../dist/datastore/store-lock.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { describeIndex, indexFolder } from '../../dist/knnlm/index-folder.js';
import { isLargeTail, keepIndexed } from '../../dist/knnlm/keep-indexed.js';
import { clustered } from '../indexes/vectors.ts';

const dim = 8;
const header: StoreHeader = {
  model: { name: 'none', family: 'none', file: 'none.onnx', contextLength: 64 },
  fingerprint: { weights: 'w', tokenizer: 't', dtype: 'fp32', keyTensor: 'k', provider: 'cpu' },
  key: { name: null, tensor: 'k', dim, dtype: 'fp16' },
  vocabSize: 50,
  bos: 0,
  eos: 1,
  window: 64,
  stride: 32,
};
const settings = { k: 50, lambda: 0.5, temperature: 4, source: 'given' as const };
let root: string;

async function makeStore(name: string, lengths: number[]): Promise<string> {
  const path = join(root, name);
  const writer = await DatastoreWriter.open(path, header);
  for (const [i, length] of lengths.entries()) {
    const hash = documentHash(`${name} ${i}`);
    await writer.beginDocument({ id: `d${i}`, source: 'test', hash, length });
    await writer.append(
      clustered(length, dim, 50, i),
      Uint32Array.from({ length }, (_, r) => r % 50),
    );
    await writer.endDocument();
  }
  await writer.finish(settings);
  return path;
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'knnlm-keep-indexed-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('a store of 200,000 entries gets an index by itself, once', async () => {
  const store = await makeStore('large', [100_000, 100_000]);
  const built = await keepIndexed(store);
  expect(built!.recall).toBeGreaterThan(0.8);
  expect(await describeIndex(store)).toMatchObject({ kind: 'ivf', indexed: 200_000 });
  expect(await keepIndexed(store)).toBeUndefined();
}, 180_000);

it('a small store gets one only when asked, and none when told', async () => {
  const store = await makeStore('small', [900, 700]);
  expect(await keepIndexed(store)).toBeUndefined();
  expect(await keepIndexed(store, { index: 'none' })).toBeUndefined();
  expect(await describeIndex(store)).toEqual({ kind: 'flat' });
  expect((await keepIndexed(store, { index: 'ivf' }))!.entries).toBe(1600);
});

it('more than a quarter of new entries, and 50,000 at least, are too many beside an index', () => {
  expect(isLargeTail(50_000, 10_000)).toBe(false);
  expect(isLargeTail(50_001, 10_000)).toBe(true);
  expect(isLargeTail(50_001, 1_000_000)).toBe(false);
  expect(isLargeTail(250_001, 1_000_000)).toBe(true);
});

it('another writer costs the index and nothing else, with a warning', async () => {
  const store = await makeStore('locked', [900, 700]);
  const lock = await lockStore(store);
  const warnings: string[] = [];
  const onWarning = (message: string) => warnings.push(message);
  expect(await keepIndexed(store, { index: 'ivf', onWarning })).toBeUndefined();
  expect(warnings).toEqual([expect.stringMatching(/^search stays exact: .* being written by/)]);
  await lock.release();
});

it('compacting builds the index again, of the entries that are left; a reader of the old one goes on', async () => {
  const store = await makeStore('compacted', [900, 700, 800]);
  await keepIndexed(store, { index: 'ivf' });
  await removeDocuments(store, { ids: ['d1'] });
  const before = await Datastore.open(store);
  const sources = before.keySources();
  const folder = indexFolder(store);
  const old = await openIndex({ sources, dim, indexFolder: folder });
  const queries = clustered(20, dim, 50, 7);
  const exclude = before.excludedRanges();
  const expected = await old.search(queries, { k: 5, exclude });
  const { index, indexRemoved } = await compactStore(store);
  expect(indexRemoved).toBe(true);
  expect(index!.entries).toBe(1700);
  expect(await old.search(queries, { k: 5, exclude })).toEqual(expected);
  await old.close();
  await before.close();

  const after = await Datastore.open(store);
  const now = await openIndex({ sources: after.keySources(), dim, indexFolder: folder });
  expect([now.kind, now.size]).toEqual(['ivf', 1700]);
  const found = await now.search(queries, { k: 5 });
  const live = Array.from(expected.ids, (id) => (id < 900 ? id : id - 700));
  const shared = Array.from(found.ids).filter((id, i) =>
    live.slice(i - (i % 5), i - (i % 5) + 5).includes(id),
  );
  expect(shared.length).toBeGreaterThan(80);
  await now.close();
  await after.close();
});

it('compacting can leave the index out', async () => {
  const store = await makeStore('left-out', [900, 700]);
  await keepIndexed(store, { index: 'ivf' });
  await removeDocuments(store, { ids: ['d0'] });
  expect((await compactStore(store, { reindex: false })).index).toBeUndefined();
  expect(await describeIndex(store)).toEqual({ kind: 'flat' });
});
