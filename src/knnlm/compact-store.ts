/** Compaction of a datastore with its index: what was made of the old keys goes, and is made again of those that are left. */
import {
  type Compaction,
  type CompactOptions,
  compactDatastore,
} from '../datastore/compact-datastore.ts';
import {
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../indexes/milvus/milvus-header.ts';
import { describeIndex, indexFolder } from './index-folder.ts';
import { type KeepIndexedRequest, type KeptIndex, keepIndexed } from './keep-indexed.ts';
import { leaveMilvus } from './milvus-store.ts';

export interface CompactStoreOptions extends CompactOptions {
  /** Whether an index that was removed is built again. Default true. */
  reindex?: boolean;
  /** Of the new index. */
  onIndexProgress?: KeepIndexedRequest['onProgress'];
  onWarning?: KeepIndexedRequest['onWarning'];
}

export interface StoreCompaction extends Compaction {
  /** The index that took the place of the one removed. */
  index?: KeptIndex;
}

/**
 * As `compactDatastore`, and builds the index again that this removes. Whoever has the store open goes on with the state
 * they have, old index included, until they refresh. Errors: those of `compactDatastore` and `indexStore`; after an
 * `ABORTED` while indexing the store is compacted and its search exact.
 */
export async function compactStore(
  path: string,
  { reindex = true, onIndexProgress, onWarning, ...options }: CompactStoreOptions = {},
): Promise<StoreCompaction> {
  const remote = await readMilvusHeader(indexFolder(path));
  const before = await describeIndex(path).catch(() => undefined);
  const compaction = await compactDatastore(path, options);
  if (!compaction.indexRemoved) return compaction;
  if (remote) await keepAddress(path, remote);
  if (!reindex || compaction.entries === 0) {
    if (remote) await leaveMilvus(path, onWarning);
    return compaction;
  }
  const { signal } = options;
  const index = await keepIndexed(path, {
    // On Milvus the renumbered entries go to a partition of their own, and the former one is dropped.
    index: remote ? 'auto' : 'ivf',
    codes: before?.codes,
    onProgress: onIndexProgress,
    onWarning,
    signal,
  });
  return { ...compaction, index };
}

/** Compaction took the index away, with it the note of where the entries are: nothing of them is searched there now. */
async function keepAddress(path: string, header: MilvusHeader): Promise<void> {
  const nothing = { entries: 0, sent: 0, removed: [], samples: [], sources: [] };
  await writeMilvusHeader(indexFolder(path), { ...header, ...nothing, isStale: true });
}
