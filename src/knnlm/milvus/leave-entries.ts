/** `--values remote`: keys and values leave the store's folder, once every entry was read back from the collection. */
import { Datastore } from '../../datastore/datastore.ts';
import { leaveEntries } from '../../datastore/leave-entries.ts';
import { withLock } from '../../datastore/store-lock.ts';
import { KnnLMError } from '../../errors.ts';
import { flattenRanges } from '../../indexes/id-ranges.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import { subtract } from '../../indexes/milvus/milvus-filter.ts';
import {
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { firstId } from '../../indexes/milvus/milvus-partition.ts';
import { indexFolder } from '../index-folder.ts';
import type { MilvusStoreRequest } from './types.ts';

/** Where keys and values lie: in the store's folder as well, or on Milvus only. */
export type ValuesPlace = 'local' | 'remote';

const ROWS_AT_ONCE = 16_384;

/**
 * For a store that was just brought up to date on Milvus. What others can do with it is not changed.
 * Errors: `INDEX_UNAVAILABLE` when the collection lacks an entry: then nothing is removed here; `STORE_LOCKED`, `ABORTED`, `IO`.
 */
export async function leaveToMilvus(
  store: string,
  { access, onProgress, signal }: Pick<MilvusStoreRequest, 'access' | 'onProgress' | 'signal'> = {},
): Promise<void> {
  await withLock(store, async (lock) => {
    const folder = indexFolder(store);
    const header = await readMilvusHeader(folder);
    const datastore = await Datastore.open(store);
    try {
      if (datastore.remote) return;
      if (!header || header.entries < datastore.entries)
        throw new Error(`${store} is not on Milvus as a whole`);
      const connection = new MilvusConnection(parseMilvusUrl(header.url), access);
      const collection = new MilvusCollection(connection);
      const onRead = (done: number) =>
        onProgress?.({ phase: 'checking', done, total: datastore.entries, unit: 'entries' });
      try {
        await readBack(datastore, { collection, header, onRead, signal });
      } finally {
        await collection.close();
      }
    } finally {
      await datastore.close();
    }
    // In this order: without marks of the keys the header fits a folder that has them and one that has not.
    await writeMilvusHeader(folder, { ...header, sources: [] });
    await leaveEntries(store, lock);
  });
}

/** Compares every value, by which an entry that is missing or another's is found. */
async function readBack(
  datastore: Datastore,
  {
    collection,
    header: { partition, url, removed },
    onRead,
    signal,
  }: {
    collection: MilvusCollection;
    header: MilvusHeader;
    onRead: (done: number) => void;
    signal?: AbortSignal;
  },
): Promise<void> {
  const { entries } = datastore;
  const first = firstId(partition);
  const live = subtract(Int32Array.of(0, entries), flattenRanges(removed, entries));
  for (let r = 0; r < live.length; r += 2) {
    for (let from = live[r]!; from < live[r + 1]!; from += ROWS_AT_ONCE) {
      const to = Math.min(live[r + 1]!, from + ROWS_AT_ONCE);
      const own = await datastore.valueRange(from, to);
      const filter = `id >= ${first + from} and id < ${first + to}`;
      const rows = await collection.query(partition.name, filter, ['id', 'value'], { signal });
      const same = rows.filter(({ id, value }) => own[Number(id) - first - from] === Number(value));
      if (rows.length !== to - from || same.length !== rows.length) {
        throw new KnnLMError(
          'INDEX_UNAVAILABLE',
          `${url} has ${same.length} of the ${to - from} entries from ${from} on as they are here; nothing was removed here. Send them again: knnlm index ${datastore.path} --index ${url}`,
        );
      }
      onRead(to);
    }
  }
}
