/** Sending entries to a server that fails: nothing is lost, nothing is there twice, and every message says what to do. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { parseMilvusUrl } from '../../dist/indexes/milvus/milvus-address.js';
import { MilvusCollection } from '../../dist/indexes/milvus/milvus-collection.js';
import { MilvusConnection } from '../../dist/indexes/milvus/milvus-connection.js';
import {
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../../dist/indexes/milvus/milvus-header.js';
import { firstId } from '../../dist/indexes/milvus/milvus-partition.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import { describeIndex, indexFolder } from '../../dist/knnlm/index-folder.js';
import { indexStore } from '../../dist/knnlm/index-store.js';
import { keepIndexed } from '../../dist/knnlm/keep-indexed.js';
import { removeFromMilvus } from '../../dist/knnlm/milvus/remove-from-milvus.js';
import { indexOnMilvus } from '../../dist/knnlm/milvus/sync-milvus.js';
import type { MilvusStoreRequest } from '../../dist/knnlm/milvus/types.js';
import { verifyStore } from '../../dist/knnlm/verify-store.js';
import { header, openStore } from '../datastore/support.ts';
import { clustered } from '../indexes/vectors.ts';
import { hasMilvusLite, MilvusLite, missing } from './milvus-lite.ts';

const dim = 64;
const n = 4500;
const key = { name: null, tensor: 'k', dim, dtype: 'fp16' as const };

describe.skipIf(!hasMilvusLite)(`sending entries to Milvus${missing}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'knnlm-milvus-faults-'));
  const made = join(root, 'made');
  let lite: MilvusLite;
  let copies = 0;

  beforeAll(async () => {
    lite = await MilvusLite.start(join(root, 'server'));
    const writer = await DatastoreWriter.open(made, header({ key }));
    for (let d = 0; d < 30; d++) {
      const length = n / 30;
      const hash = documentHash(`${d}`);
      await writer.beginDocument({ id: `d${d}`, source: 'test', hash, length });
      await writer.append(
        clustered(length, dim, 40, d),
        Uint32Array.from({ length }, (_, i) => i),
      );
      await writer.endDocument();
    }
    await writer.finish({ k: 8, lambda: 0.5, temperature: 4, source: 'given' });
  });

  afterAll(async () => {
    await lite?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  function copy(): string {
    const path = join(root, `copy-${copies++}`);
    cpSync(made, path, { recursive: true });
    return path;
  }

  const noteOf = async (store: string): Promise<MilvusHeader> =>
    (await readMilvusHeader(indexFolder(store)))!;

  function collectionOf({ url }: MilvusHeader): MilvusCollection {
    const collection = new MilvusCollection(new MilvusConnection(parseMilvusUrl(url)));
    onTestFinished(() => collection.close());
    return collection;
  }

  /** Rows on the server, all of the partition. */
  async function rows(store: string): Promise<number> {
    const note = await noteOf(store);
    const first = firstId(note.partition);
    return await collectionOf(note).count(note.partition.name, first, first + n, {});
  }

  /** The ids that the index finds are those of exact search. */
  async function expectExact(store: string): Promise<void> {
    const { entries, ...datastore } = await openStore(store);
    expect(entries).toBe(n);
    const open = await openStore(datastore.path);
    const options = { sources: open.keySources(), dim, threads: 1 };
    const [index, exact] = await Promise.all([
      openIndex({ ...options, indexFolder: indexFolder(store) }),
      openIndex(options),
    ]);
    const search = { k: 30, exclude: open.excludedRanges() };
    const queries = clustered(12, dim, 40, 77);
    expect(index.kind).toBe('milvus');
    expect((await index.search(queries, search)).ids).toEqual(
      (await exact.search(queries, search)).ids,
    );
    await Promise.all([index.close(), exact.close()]);
  }

  it('outlives a server that is killed and comes back', async () => {
    const store = copy();
    const warnings: string[] = [];
    let killed: Promise<void> | undefined;
    const result = await indexOnMilvus(store, {
      url: lite.url('killed'),
      onWarning: (message) => warnings.push(message),
      onProgress: ({ phase, done }) => {
        if (phase !== 'sending' || done === 0 || killed) return;
        killed = lite
          .kill()
          .then(() => sleep(500))
          .then(() => lite.restart());
      },
    });
    await killed;
    expect(result).toMatchObject({ entries: n, sent: n, recall: 1 });
    expect(warnings.join()).toMatch(/is away .*; waiting for it/);
    expect(await rows(store)).toBe(n);
    await expectExact(store);
  });

  it('says how much has arrived when the server stays away, and goes on from there', async () => {
    const store = copy();
    let killed: Promise<void> | undefined;
    const request: MilvusStoreRequest = {
      url: lite.url('gone'),
      patienceMs: 200,
      onProgress: ({ phase, done }) => {
        if (phase === 'sending' && done > 0) killed ??= lite.kill();
      },
    };
    await expect(indexOnMilvus(store, request)).rejects.toMatchObject({
      code: 'INDEX_UNAVAILABLE',
      message: expect.stringMatching(
        /does not answer .* of 4500 entries have arrived; the same command again/,
      ),
    });
    await killed;
    // Until it is whole the store is searched here.
    expect(await describeIndex(store)).toMatchObject({ kind: 'milvus', indexed: 0 });
    const warnings: string[] = [];
    const auto = { patienceMs: 0, onWarning: (message: string) => void warnings.push(message) };
    expect(await keepIndexed(store, auto)).toBeUndefined();
    expect(warnings.join()).toMatch(/searched exactly, here: Milvus at .* does not answer/);
    await lite.restart();
    const { sent } = await noteOf(store);
    expect(sent).toBeGreaterThan(0);
    const result = await indexOnMilvus(store, { url: lite.url('gone') });
    expect(result.sent).toBe(n - sent);
    expect(await rows(store)).toBe(n);
    await expectExact(store);
  });

  it('changes nothing by batches that arrive twice, and tells a collection that lacks rows', async () => {
    const store = copy();
    await indexOnMilvus(store, { url: lite.url('twice') });
    // As if the note of what had been sent were lost.
    const note = await noteOf(store);
    await writeMilvusHeader(indexFolder(store), { ...note, sent: 0 });
    expect(await indexOnMilvus(store)).toMatchObject({ sent: n });
    expect(await rows(store)).toBe(n);

    const first = firstId(note.partition);
    await collectionOf(note).remove(note.partition.name, `id < ${first + n / 2}`, {});
    await expect(expectExact(store)).rejects.toMatchObject({
      code: 'INDEX_UNAVAILABLE',
      message: expect.stringMatching(
        /8 of 16 entries looked up are missing.*knnlm index STORE --index/,
      ),
    });
    const problem = `it holds ${n / 2} of ${n} entries (entry 0, of document "d0", first of all)`;
    expect((await verifyStore(store)).problems).toMatchObject([{ problem }]);
    const { repaired } = await verifyStore(store, { repair: true });
    expect(repaired).toEqual([`sent the entries again (${problem})`]);
    await expectExact(store);

    await collectionOf(note).dropPartition(note.partition.name);
    await expect(expectExact(store)).rejects.toMatchObject({
      message: expect.stringContaining(`has no partition ${note.partition.name}`),
    });
    expect(await indexOnMilvus(store)).toMatchObject({ sent: n });
    await expectExact(store);
  });

  it('removes on the server what is removed here, at once or with the next change', async () => {
    const store = copy();
    await keepIndexed(store, { index: lite.url('removal') });
    // Among them an entry by which the collection is known again.
    await removeDocuments(store, { ids: ['d0'] });
    await expectExact(store);
    await removeFromMilvus(store);
    expect(await rows(store)).toBe(n - n / 30);
    await expectExact(store);
    await removeDocuments(store, { ids: ['d4', 'd5'] });
    expect(await keepIndexed(store)).toMatchObject({ kind: 'milvus', sent: 0, removed: n / 15 });
    expect(await rows(store)).toBe(n - n / 10);
    await expectExact(store);
    // Back to an index of its own.
    await indexStore(store);
    expect(await describeIndex(store)).toMatchObject({ kind: 'ivf' });
  });

  it('refuses a collection of other keys, and one of something else, naming it', async () => {
    const store = copy();
    await indexOnMilvus(store, { url: lite.url('mine') });
    const other = join(root, 'other');
    const fingerprint = { ...header().fingerprint, weights: 'others' };
    const writer = await DatastoreWriter.open(other, header({ key, fingerprint }));
    await writer.beginDocument({ id: 'x', source: 'test', hash: documentHash('x'), length: 40 });
    await writer.append(clustered(40, dim, 4, 1), new Uint32Array(40));
    await writer.endDocument();
    await writer.finish(null);
    await expect(indexOnMilvus(other, { url: lite.url('mine') })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('keys of another model'),
    });
  });
});

describe('an address of a collection', () => {
  it('has host, port, database, collection, and whether TLS is used', () => {
    expect(parseMilvusUrl('milvus://db/notes')).toEqual({
      host: 'db',
      port: 19530,
      tls: false,
      collection: 'notes',
    });
    expect(parseMilvusUrl('milvuss://db.example.com:443/team/notes?index=ivf_sq8')).toEqual({
      host: 'db.example.com',
      port: 443,
      tls: true,
      database: 'team',
      collection: 'notes',
      indexType: 'IVF_SQ8',
    });
  });

  it.each([
    ['milvus://db', 'collection is missing'],
    ['milvus://db/a/b/c', 'more than a database'],
    ['milvus://db/no-dash', '"no-dash" is not a name'],
    ['milvus://db/notes?index=BEST', 'index type must be one of'],
    ['milvus://root:Milvus@db/notes', 'KNNLM_MILVUS_TOKEN'],
  ])('refuses %s', (text, why) => {
    expect(() => parseMilvusUrl(text)).toThrow(why);
  });
});
