/** A store opened by its collection's address, on a machine that has nothing else of it but the model. */
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../../dist/datastore/types.js';
import { parseMilvusUrl } from '../../dist/indexes/milvus/milvus-address.js';
import { MilvusCollection } from '../../dist/indexes/milvus/milvus-collection.js';
import { MilvusConnection } from '../../dist/indexes/milvus/milvus-connection.js';
import { readMilvusHeader } from '../../dist/indexes/milvus/milvus-header.js';
import { firstId } from '../../dist/indexes/milvus/milvus-partition.js';
import { addEntries, asRead } from '../../dist/knnlm/add.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { indexFolder } from '../../dist/knnlm/index-folder.js';
import { keepIndexed } from '../../dist/knnlm/keep-indexed.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { leaveToMilvus } from '../../dist/knnlm/milvus/leave-entries.js';
import { removeFromMilvus } from '../../dist/knnlm/milvus/remove-from-milvus.js';
import { indexOnMilvus } from '../../dist/knnlm/milvus/sync-milvus.js';
import { verifyStore } from '../../dist/knnlm/verify-store.js';
import { buildDatastore, datastoreInfo, listDocuments, openKnnLM } from '../../dist/open.js';
import { createServer } from '../../dist/server/create-server.js';
import { header } from '../datastore/support.ts';
import { clustered } from '../indexes/vectors.ts';
import { hasMilvusLite, MilvusLite, missing } from './milvus-lite.ts';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const PROMPT = 'Once upon a time';

describe.skipIf(!hasMilvusLite)(`a store opened by its address${missing}`, () => {
  const root = mkdtempSync(join(tmpdir(), 'knnlm-stateless-'));
  const folder = join(root, 'stories.knn');
  const documents: SourceDocument[] = [];
  let lite: MilvusLite;
  let url: `milvus://${string}`;

  beforeAll(async () => {
    lite = await MilvusLite.start(join(root, 'server'));
    url = lite.url('stories');
    for await (const one of readDocuments([`${fixtures}golden/tinystories.train.jsonl`])) {
      if (documents.push(one) === 6) break;
    }
    await build(folder, url);
  });

  afterAll(async () => {
    await lite?.stop();
    rmSync(root, { recursive: true, force: true });
  });

  /** The first four documents. */
  async function build(out: string, index: `milvus://${string}`, values?: 'remote') {
    const input = join(root, 'input.jsonl');
    const lines = documents.slice(0, 4).map(({ id, text }) => JSON.stringify({ id, text }));
    writeFileSync(input, `${lines.join('\n')}\n`);
    const settings = { k: 16, lambda: 0.5, temperature: 2 };
    return await buildDatastore([input], { out, model, settings, index, values });
  }

  async function opened(store: string | string[], options = {}): Promise<KnnLM> {
    const memory = await openKnnLM(store, options);
    onTestFinished(() => memory.close());
    return memory;
  }

  const found = async (memory: KnnLM) =>
    (await memory.search(PROMPT, { show: 16 })).neighbors.map(
      ({ entry, document, before, after, distance }) => ({
        entry,
        document,
        before,
        after,
        distance: Math.round(distance * 100) / 100,
      }),
    );

  it('answers as the folder does, text of the neighbors included', async () => {
    const [here, there] = [await opened(folder), await opened(url)];
    expect(there.stores[0]).toMatchObject({
      name: 'stories.knn',
      info: { remote: true, path: url },
    });
    expect(await found(there)).toEqual(await found(here));
    const [mine, theirs] = await Promise.all(
      [here, there].map((one) => one.evaluate([documents[5]!], { maxTokens: 60 })),
    );
    expect(theirs!.lm).toEqual(mine!.lm);
    expect(Math.abs(theirs!.knnlm.nll - mine!.knnlm.nll)).toBeLessThan(1e-3);
    const text = async (memory: KnnLM) => {
      const run = memory.generate(PROMPT, { maxTokens: 8, knn: { pointers: true } });
      let step = await run.next();
      while (!step.done) step = await run.next();
      return step.value.text;
    };
    expect(await text(there)).toBe(await text(here));
    expect((await datastoreInfo(url)).documents).toBe(4);
    expect(await listDocuments(url)).toEqual(await listDocuments(folder));
  });

  it('fetches keys where exact distances are asked for', async () => {
    const [here, there] = [await opened(folder), await opened(url)];
    const query = await here.query(PROMPT);
    const near = { k: 20, rerank: 1 };
    const [a, b] = await Promise.all(
      [here, there].map((one) => one.retriever.index.search(query, near)),
    );
    expect(b!.ids).toEqual(a!.ids);
    const off = a!.distances.map((distance, i) => Math.abs(distance - b!.distances[i]!));
    expect(Math.max(...off)).toBeLessThan(1e-5);
    const rows = { counts: Uint32Array.of(3), ids: Uint32Array.of(5, 70, 900) };
    const [c, d] = await Promise.all(
      [here, there].map((one) => one.retriever.distances(query, rows)),
    );
    for (const [i, distance] of c!.entries()) expect(d![i]).toBeCloseTo(distance, 4);
  });

  it('sees what was removed, added and compacted elsewhere with the next request', async () => {
    const memory = await opened(url);
    const server = createServer(memory);
    const ask = async (path: string, body: object) => {
      const reply = await server.fetch(
        new Request(`http://localhost${path}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify(body),
        }),
      );
      return { status: reply.status, body: await reply.json() };
    };
    const cited = async (): Promise<string[]> => {
      const { status, body } = await ask('/v1/knn/search', { context: PROMPT, show: 16 });
      expect(status).toBe(200);
      return body.neighbors.map(({ document }: { document: string }) => document);
    };
    const [gone] = await cited();
    await removeDocuments(folder, { ids: [gone!] });
    await removeFromMilvus(folder);
    // Of who has not heard of it, too: the rows are gone.
    expect((await found(memory)).map(({ document }) => document)).not.toContain(gone);
    expect(await cited()).not.toContain(gone);
    expect(memory.stores[0]!.info.documents).toBe(3);

    const refused = await ask('/v1/knn/documents', { id: 'new', text: PROMPT });
    expect(refused.status).toBe(400);
    expect(refused.body.error.message).toMatch(/opened by its address and cannot be changed here/);
    await expect(memory.remove({ ids: ['x'] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });

    const own = await opened(folder);
    await addEntries(asRead([documents[4]!]), own.model, folder, {});
    await keepIndexed(folder);
    await cited();
    expect(memory.stores[0]!.info.documents).toBe(4);

    await compactStore(folder);
    expect(await cited()).toEqual((await found(await opened(folder))).map((one) => one.document));
    expect(memory.stores[0]!.info).toMatchObject({ documents: 4, deleted: 0, path: url });
    await server.close();
  });

  it('is verified by its address: every entry is there once, with its document and value', async () => {
    const store = join(root, 'verified.knn');
    const place = lite.url('verified');
    const { entries } = await build(store, place);
    await removeDocuments(store, { ids: [documents[1]!.id] });
    await removeFromMilvus(store);
    const { entries: live } = await datastoreInfo(store);
    expect(live).toBeLessThan(entries);
    for (const one of [store, place])
      expect(await verifyStore(one)).toMatchObject({ entries: live, problems: [] });
    await expect(verifyStore(place, { repair: true })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/is an address.*knnlm verify STORE --repair/),
    });

    const { partition, removed } = (await readMilvusHeader(indexFolder(store)))!;
    const first = firstId(partition);
    const collection = collectionOf(place);
    const key = new Float32Array((await datastoreInfo(store)).keyDim);
    const { start } = (await listDocuments(store))[1]!;
    await collection.remove(partition.name, `id == ${first + 7}`, {});
    const row = (entry: number, document: string, value: number) => ({
      id: first + entry,
      document,
      value,
      key,
    });
    const [gone, other] = [documents[0]!, documents[2]!];
    await collection.upsert(
      partition.name,
      [row(start, 'somebody', 1), row(start + 1, other.id, 511), row(removed[0]![0], gone.id, 1)],
      {},
    );
    const problems = [
      `it holds ${live - 1} of ${live} entries (entry 7, of document "${gone.id}", first of all)`,
      expect.stringMatching(/^entries that were removed and are still there: 1 /),
      `entries with another document: 1 (entry ${start}, of document "${other.id}", first of all)`,
    ].map((problem) => ({ file: place, problem }));
    expect((await verifyStore(place)).problems).toEqual(problems);
    const value = {
      file: place,
      problem: `entries with another value: 1 (entry ${start + 1}, of document "${other.id}", first of all)`,
    };
    // Values are compared where they are.
    expect((await verifyStore(store)).problems).toEqual([...problems, value]);
    await verifyStore(store, { repair: true });
    for (const one of [store, place])
      expect(await verifyStore(one)).toMatchObject({ entries: live, problems: [] });
  });

  it('leaves keys and values to the collection when told to', async () => {
    const store = join(root, 'left.knn');
    const place = lite.url('left');
    const { entries } = await build(store, place, 'remote');
    expect(readdirSync(join(store, 'segments/000000')).sort()).toEqual([
      'documents.jsonl',
      'documents.jsonl.crc',
    ]);
    const whole = join(root, 'whole.knn');
    await build(whole, lite.url('whole'));
    const memory = await opened(store);
    expect(memory.info).toMatchObject({ entries, remote: true, hasKeys: false });
    expect(await found(memory)).toEqual(await found(await opened(whole)));
    expect((await verifyStore(store)).problems).toEqual([]);

    const left = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('left to Milvus') };
    await expect(memory.add([documents[5]!])).rejects.toMatchObject(left);
    await expect(memory.compact()).rejects.toMatchObject(left);
    await expect(indexOnMilvus(store)).rejects.toMatchObject(left);
    const gone = documents[1]!.id;
    await memory.remove({ ids: [gone] });
    for (const one of [memory, await opened(place)])
      expect((await found(one)).map(({ document }) => document)).not.toContain(gone);
    expect((await datastoreInfo(place)).documents).toBe(3);
  });

  it('keeps keys and values here when the collection lacks an entry', async () => {
    const store = join(root, 'lacking.knn');
    await build(store, lite.url('lacking'));
    const { partition } = (await readMilvusHeader(indexFolder(store)))!;
    const collection = collectionOf(lite.url('lacking'));
    await collection.remove(partition.name, `id == ${firstId(partition) + 700}`, {});
    await expect(leaveToMilvus(store)).rejects.toMatchObject({
      code: 'INDEX_UNAVAILABLE',
      message: expect.stringContaining('nothing was removed here'),
    });
    expect(existsSync(join(store, 'segments/000000/keys.f16'))).toBe(true);
    expect((await datastoreInfo(store)).remote).toBe(false);
  });

  it('names the stores of a collection that has several, and opens several together', async () => {
    const first = await opened(lite.url('left'));
    const other = join(root, 'other.knn');
    await build(other, lite.url('left'));
    expect(await first.refresh()).toBe(false);
    expect(first.stores[0]!.name).toBe('left.knn');
    await expect(openKnnLM(lite.url('left'))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringMatching(/holds several stores: left\.knn \(0\), other\.knn \(1\)/),
    });
    await expect(openKnnLM(`${lite.url('left')}?store=none`)).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
      message: expect.stringContaining('no store "none", but: left.knn (0), other.knn (1)'),
    });
    const both = ['left.knn', '1'].map((store) => `${lite.url('left')}?store=${store}`);
    const memory = await opened(both);
    expect(memory.stores.map(({ name }) => name)).toEqual(['left.knn', 'other.knn']);
    expect(new Set((await memory.search(PROMPT)).neighbors.map(({ store }) => store)).size).toBe(2);
  });

  it('says why an address is no store', async () => {
    await expect(openKnnLM(lite.url('nowhere'))).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
      message: expect.stringContaining('has no collection nowhere. Send a store there'),
    });
    await expect(openKnnLM('milvus://127.0.0.1:1/stories')).rejects.toMatchObject({
      code: 'INDEX_UNAVAILABLE',
      message: expect.stringContaining('Milvus at 127.0.0.1:1 does not answer'),
    });
    await expect(openKnnLM(url, { model: 'wiki-mini' })).rejects.toMatchObject({
      code: 'MODEL_MISMATCH',
    });

    const key = { name: null, tensor: 'k', dim: 8, dtype: 'fp16' as const };
    const half = join(root, 'half');
    const writer = await DatastoreWriter.open(half, header({ key }));
    await writer.beginDocument({ id: 'x', source: 't', hash: documentHash('x'), length: 9000 });
    await writer.append(clustered(9000, 8, 4, 1), new Uint32Array(9000));
    await writer.endDocument();
    await writer.finish(null);
    const stop = new AbortController();
    const stopped = indexOnMilvus(half, {
      url: lite.url('half'),
      signal: stop.signal,
      onProgress: ({ done }) => done > 0 && stop.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    await expect(openKnnLM(lite.url('half'))).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
      message: expect.stringContaining('entries of a store that was not sent to the end'),
    });
  });

  it('refuses files that are not as they were sent, and leaves no folder behind', async () => {
    const store = join(root, 'torn.knn');
    await build(store, lite.url('torn'));
    const files = collectionOf(lite.url('torn_stores'));
    const folders = () => readdirSync(tmpdir()).filter((name) => name.startsWith('knnlm-store-'));
    const before = folders();
    await files.remove('_default', 'id == 1', {});
    await expect(openKnnLM(lite.url('torn'))).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(/does not hold segments.* as it was sent.*knnlm index STORE/),
    });
    expect(folders()).toEqual(before);
    await indexOnMilvus(store);
    expect((await opened(lite.url('torn'))).stores[0]!.name).toBe('torn.knn');
  });

  function collectionOf(place: string): MilvusCollection {
    const collection = new MilvusCollection(new MilvusConnection(parseMilvusUrl(place)));
    onTestFinished(() => collection.close());
    return collection;
  }
});
