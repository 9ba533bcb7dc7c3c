/** Search on Milvus against what every index must do. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import { readMilvusHeader } from '../../dist/indexes/milvus/milvus-header.js';
import { MilvusIndex } from '../../dist/indexes/milvus/milvus-index.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import type { VectorIndex } from '../../dist/indexes/vector-index.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { describeIndex, indexFolder } from '../../dist/knnlm/index-folder.js';
import { keepIndexed } from '../../dist/knnlm/keep-indexed.js';
import { indexOnMilvus } from '../../dist/knnlm/milvus/sync-milvus.js';
import { header } from '../datastore/support.ts';
import { indexSuite } from '../indexes/index-suite.ts';
import { clustered } from '../indexes/vectors.ts';
import { changesSuite } from '../knnlm/changes-suite.ts';
import { hasMilvusLite, MilvusLite, missing } from './milvus-lite.ts';

describe.skipIf(!hasMilvusLite)(`MilvusIndex${missing}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'knnlm-milvus-'));
  let lite: MilvusLite;

  beforeAll(async () => {
    lite = await MilvusLite.start(join(root, 'server'));
  });
  afterAll(async () => {
    await lite?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  /** A store of these keys in documents of 100 entries, sent to a collection. */
  async function sent(name: string, keys: Float32Array, dim: number): Promise<string> {
    const path = join(root, name);
    const key = { name: null, tensor: 'k', dim, dtype: 'fp32' as const };
    const writer = await DatastoreWriter.open(path, header({ key }));
    for (let start = 0; start * dim < keys.length; start += 100) {
      const part = keys.subarray(start * dim, (start + 100) * dim);
      const length = part.length / dim;
      const hash = documentHash(`${name} ${start}`);
      await writer.beginDocument({ id: `d${start}`, source: 'test', hash, length });
      await writer.append(
        part,
        Uint32Array.from({ length }, (_, i) => (start + i) % 50),
      );
      await writer.endDocument();
    }
    await writer.finish({ k: 20, lambda: 0.5, temperature: 4, source: 'given' });
    await indexOnMilvus(path, { url: lite.url(name) });
    return path;
  }

  async function opened(store: string, rerank: number): Promise<VectorIndex> {
    const datastore = await Datastore.open(store);
    const sources = datastore.keySources();
    await datastore.close();
    const stored = (await readMilvusHeader(indexFolder(store)))!;
    const settings = { ...stored.settings!, rerank };
    return new MilvusIndex({ header: { ...stored, settings }, sources, threads: 1 });
  }

  indexSuite(
    "MilvusIndex with the server's distances",
    async (keys, dim) => opened(await sent('plain', keys, dim), 0),
    { recall: 1, distanceError: 1e-5, isRemote: true },
  );

  indexSuite('MilvusIndex with exact distances', async () => opened(join(root, 'plain'), 1), {
    isRemote: true,
  });

  it('takes the first of entries at equal distance, however many there are', async () => {
    const keys = clustered(300, 8, 10, 3);
    // 100 contexts that are the same, as in repeated text.
    for (let row = 120; row < 220; row++) keys.copyWithin(row * 8, 100 * 8, 101 * 8);
    const store = await sent('ties', keys, 8);
    for (const rerank of [0, 1]) {
      const index = await opened(store, rerank);
      const { ids } = await index.search(keys.slice(800, 808), { k: 12 });
      expect([...ids]).toEqual([100, ...Array.from({ length: 11 }, (_, i) => 120 + i)]);
      await index.close();
    }
  });

  changesSuite('searches on Milvus', {
    open: (store) =>
      openIndex({
        sources: store.keySources(),
        dim: store.keyDim,
        indexFolder: indexFolder(store.path),
        threads: 1,
      }),
    compact: (path) => compactStore(path),
    // Many stores, one after another, in one collection.
    sync: (path) => keepIndexed(path, { index: lite.url('changes') }),
    distanceError: 1e-5,
    changes: 6,
    sequences: 2,
  });

  it('tells where a store is searched, and how exactly', async () => {
    expect(await describeIndex(join(root, 'plain'))).toMatchObject({
      kind: 'milvus',
      url: lite.url('plain'),
      type: 'FLAT',
      indexed: 3000,
      recall: 1,
    });
  });
});
