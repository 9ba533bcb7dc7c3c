/**
 * Stores without keys: product codes take their place, a thirteenth of the bytes. Before the keys go, the index is read
 * from end to end and compared with its checksums; from then on it is the store's own data.
 */
import { Datastore } from '../datastore/datastore.ts';
import { dropKeyFiles } from '../datastore/drop-keys.ts';
import { readManifest } from '../datastore/manifest.ts';
import { concludeAdd, removeLeftovers } from '../datastore/store-cleanup.ts';
import { type StoreLock, withLock } from '../datastore/store-lock.ts';
import { KnnLMError } from '../errors.ts';
import { corruptIndex, readHeader, settleHeader, writeHeader } from '../indexes/ivf/ivf-header.ts';
import { appendIvf } from '../indexes/ivf/rewrite-ivf.ts';
import { verifyIvf } from '../indexes/ivf/verify-ivf.ts';
import { indexFolder } from './index-folder.ts';
import type { IndexStoreRequest } from './index-store.ts';

export interface DroppedKeys {
  /** Bytes of keys that are gone. */
  keyBytes: number;
}

/**
 * Removes the keys that are left: of a store whose index has product codes of every entry, and of entries added to a
 * store without keys, which are coded first, by the centroids and codebooks that are there.
 * Errors: `STORE_NOT_FOUND`, `STORE_LOCKED`, `STORE_CORRUPT` when the codes are not whole, `DISK_FULL`, `IO`, `ABORTED`.
 */
export async function dropKeys(
  store: string,
  request: Omit<IndexStoreRequest, 'lists' | 'maxError' | 'codes' | 'dropKeys'> = {},
): Promise<DroppedKeys> {
  await readManifest(store);
  return await withLock(store, (lock) => dropKeysLocked(store, lock, request));
}

/** As `dropKeys`, for who holds the store's lock. */
export async function dropKeysLocked(
  store: string,
  lock: StoreLock,
  { threads, memoryBytes, signal, onProgress }: Parameters<typeof dropKeys>[1] & object,
): Promise<DroppedKeys> {
  const manifest = await concludeAdd(store, await readManifest(store));
  // Key files among them, when keys were being removed and that was not brought to its end.
  await removeLeftovers(store, manifest);
  const datastore = await Datastore.open(store);
  try {
    const { dropped, entries } = datastore;
    const folder = indexFolder(store);
    const keyBytes = (await datastore.bytes()).keys;
    const sources = datastore.keySources(dropped?.entries);
    if (dropped) await settleHeader(folder, dropped.codes);
    if (sources.length === 0) return { keyBytes: 0 };
    let header = (await readHeader(folder, dropped?.codes))!;
    if (dropped) {
      header = await appendIvf({
        folder,
        header,
        sources,
        threads,
        memoryBytes,
        signal,
        onProgress: ({ phase, done, total }) =>
          onProgress?.({ phase, done, total, unit: 'entries' }),
      });
    } else {
      await requireWhole(datastore, folder);
      // Of keys that are gone there is nothing to compare with.
      await writeHeader(folder, { ...header, sources: [] });
    }
    if (header.entries !== entries) {
      throw corruptIndex(`The index holds ${header.entries} of ${entries} entries`);
    }
    await dropKeyFiles(store, header.file.name, lock);
    await settleHeader(folder, header.file.name);
    return { keyBytes };
  } finally {
    await datastore.close();
  }
}

/** Reads the index from end to end. */
async function requireWhole(datastore: Datastore, folder: string): Promise<void> {
  const sources = datastore.keySources();
  const { problems } = await verifyIvf({ folder, sources, dim: datastore.keyDim });
  const [first] = problems;
  if (first) throw corruptIndex(`${first.file}: ${first.problem}`);
  const header = await readHeader(folder);
  if (header?.codec && header.settings.rerank === 0 && header.entries === datastore.entries) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${datastore.path} has no codes that can do without keys. Make them: knnlm index ${datastore.path} --drop-keys`,
  );
}
