/** Compaction of a datastore with its index: what was made of the old keys goes, and is made again of those that are left. */
import {
  type Compaction,
  type CompactOptions,
  compactDatastore,
} from '../datastore/compact-datastore.ts';
import { describeIndex } from './index-folder.ts';
import type { IndexStoreResult } from './index-store.ts';
import { type KeepIndexedRequest, keepIndexed } from './keep-indexed.ts';

export interface CompactStoreOptions extends CompactOptions {
  /** Whether an index that was removed is built again. Default true. */
  reindex?: boolean;
  /** Of the new index. */
  onIndexProgress?: KeepIndexedRequest['onProgress'];
  onWarning?: KeepIndexedRequest['onWarning'];
}

export interface StoreCompaction extends Compaction {
  /** The index that took the place of the one removed. */
  index?: IndexStoreResult;
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
  const before = await describeIndex(path).catch(() => undefined);
  const compaction = await compactDatastore(path, options);
  if (!compaction.indexRemoved || !reindex || compaction.entries === 0) return compaction;
  const { signal } = options;
  const index = await keepIndexed(path, {
    index: 'ivf',
    codes: before?.codes,
    onProgress: onIndexProgress,
    onWarning,
    signal,
  });
  return { ...compaction, index };
}
