/**
 * Which stores have an inverted file without being asked: large ones, and those whose newer entries, searched exactly
 * beside it, have become many. A quarter more each time keeps the work of all indexing together in proportion to the store.
 */
import { Datastore } from '../datastore/datastore.ts';
import { withLock } from '../datastore/store-lock.ts';
import { KnnLMError } from '../errors.ts';
import { readHeader } from '../indexes/ivf/ivf-header.ts';
import { isMilvusUrl, type MilvusUrl } from '../indexes/milvus/milvus-address.ts';
import { readMilvusHeader } from '../indexes/milvus/milvus-header.ts';
import { LARGE_INDEX_ENTRIES } from '../indexes/open-index.ts';
import type { BuiltIndex } from './build-types.ts';
import { indexFolder } from './index-folder.ts';
import { type IndexStoreRequest, type IndexStoreResult, indexLocked } from './index-store.ts';
import { syncMilvus } from './milvus/sync-milvus.ts';
import type { MilvusStoreResult } from './milvus/types.ts';

/**
 * `auto`: as the store's size asks for; entries that are on Milvus are brought up to date there. `ivf`: in any case. `none`:
 * what is there stays, nothing is built. An address: on Milvus.
 */
export type IndexChoice = 'auto' | 'ivf' | 'none' | MilvusUrl;

/** What was built. */
export type KeptIndex = IndexStoreResult | MilvusStoreResult;

export interface KeepIndexedRequest extends Omit<IndexStoreRequest, 'lists' | 'maxError'> {
  /** Default `auto`. */
  index?: IndexChoice;
  /** Told why a store that should have an index goes without, and of a server that is waited for. */
  onWarning?: (message: string) => void;
  /** Whether the caller holds the store's lock. */
  locked?: boolean;
}

/** New entries, beside so many indexed ones, from which on a whole new index is worth its time. */
const LARGE_TAIL_SHARE = 0.25;
const LARGE_TAIL = 50_000;

/** Whether entries beside an index of `indexed` are too many to be searched exactly. */
export const isLargeTail = (added: number, indexed: number): boolean =>
  added > Math.max(LARGE_TAIL, indexed * LARGE_TAIL_SHARE);

/**
 * Builds the index that a store should have and has not. Too small a disk, another writer, or a Milvus that is away when
 * nobody asked for it, is a warning: all that is lost is speed.
 * @returns undefined when there was nothing to do. Errors: those of `indexStore` and `indexOnMilvus`, but for these.
 */
export async function keepIndexed(
  store: string,
  { index = 'auto', onWarning, locked, ...request }: KeepIndexedRequest = {},
): Promise<KeptIndex | undefined> {
  if (index === 'none') return undefined;
  const isRemote = index === 'auto' && (await readMilvusHeader(indexFolder(store))) !== undefined;
  const held = <T>(work: () => Promise<T>) => (locked ? work() : withLock(store, work));
  try {
    if (isMilvusUrl(index))
      return await held(() => syncMilvus(store, { ...request, url: index, onWarning }));
    if (isRemote) return await held(() => syncMilvus(store, { ...request, onWarning }));
    if (!(await isWanted(store, index, onWarning))) return undefined;
    return await held(() => indexLocked(store, { ...request, onWarning }));
  } catch (error) {
    const code = error instanceof KnnLMError ? error.code : undefined;
    const isHarmless =
      code === 'DISK_FULL' ||
      code === 'STORE_LOCKED' ||
      (isRemote && (code === 'INDEX_UNAVAILABLE' || code === 'NO_DOCUMENTS'));
    if (!isHarmless || isMilvusUrl(index)) throw error;
    if (isRemote) onWarning?.(`what is new is searched exactly, here: ${(error as Error).message}`);
    else onWarning?.(`search stays exact: ${(error as Error).message}`);
    return undefined;
  }
}

/** Whether a new store of so many entries gets an inverted file. */
export const wantsIndex = (entries: number, index: IndexChoice = 'auto'): boolean =>
  entries > 0 && (index === 'ivf' || (index === 'auto' && entries >= LARGE_INDEX_ENTRIES));

async function isWanted(
  store: string,
  index: 'auto' | 'ivf',
  onWarning?: (message: string) => void,
): Promise<boolean> {
  const datastore = await Datastore.open(store);
  try {
    const { entries } = datastore;
    const { dropped } = datastore;
    if (dropped) {
      const added = entries - dropped.entries;
      if (isLargeTail(added, dropped.entries)) {
        onWarning?.(
          `${added} newer entries are searched exactly. Code them too: knnlm index ${store} --drop-keys`,
        );
      }
      return false;
    }
    const header = await readHeader(indexFolder(store));
    // One that was never tuned is left from a build that was killed.
    if (header?.evidence) return isLargeTail(entries - header.entries, header.entries);
    return wantsIndex(entries, index);
  } finally {
    await datastore.close();
  }
}

/** The figures that a build or an add tells of its index. */
export const builtIndex = (result: KeptIndex | undefined): BuiltIndex | undefined => {
  if (!result) return undefined;
  const { recall, error, seconds } = result;
  if (result.kind === 'ivf') {
    const { kind, lists, codes, bytes } = result;
    return { kind, lists, codes, bytes, recall, error, seconds };
  }
  const { kind, url, index, sent } = result;
  return { kind, url, type: index.type, sent, recall, error, seconds };
};
