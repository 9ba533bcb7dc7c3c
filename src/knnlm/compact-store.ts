/** Compaction of a datastore with its index and settings: what was made of the old keys goes, and is made again of those that are left. */
import {
  type Compaction,
  type CompactOptions,
  compactDatastore,
} from '../datastore/compact-datastore.ts';
import { readManifest } from '../datastore/manifest.ts';
import { withLock } from '../datastore/store-lock.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import { readHeader, settleHeader } from '../indexes/ivf/ivf-header.ts';
import { filterIvf } from '../indexes/ivf/rewrite-ivf.ts';
import {
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../indexes/milvus/milvus-header.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { dropKeys } from './drop-keys.ts';
import { describeIndex, indexFolder } from './index-folder.ts';
import { type KeepIndexedRequest, type KeptIndex, keepIndexed } from './keep-indexed.ts';
import { keepTuned } from './keep-tuned.ts';
import { loadStoreModel } from './load-store-model.ts';
import { leaveMilvus } from './milvus/leave-milvus.ts';
import type { UsedSettings } from './types.ts';

export interface CompactStoreOptions extends CompactOptions {
  /** Whether an index that was removed is built again. Default true. */
  reindex?: boolean;
  /** Whether settings that the store had found for itself, removed documents among them, are found again. Default true. */
  selfTune?: boolean;
  /** The store's model, or where it lies now. Default: as at build. Only needed to find settings. */
  model?: LanguageModel | string;
  /** Of the new index, and of the settings. */
  onIndexProgress?: KeepIndexedRequest['onProgress'];
  onWarning?: KeepIndexedRequest['onWarning'];
}

export interface StoreCompaction extends Compaction {
  /** The index that took the place of the one removed. */
  index?: KeptIndex;
  /** What became of the settings, when removed documents had a part in them. */
  settings?: 'found again' | 'defaults' | 'gate removed';
}

/**
 * As `compactDatastore`, and builds the index again that this removes, and finds the settings again that the store had found
 * on its own documents. Whoever has the store open goes on with the state they have, old index included, until they refresh.
 * Errors: those of `compactDatastore` and `indexStore`; after an `ABORTED` while indexing the store is compacted, its
 * search exact, its settings the defaults.
 */
export async function compactStore(
  path: string,
  options: CompactStoreOptions = {},
): Promise<StoreCompaction> {
  const { settings, codes } = await readManifest(path);
  const remote = await readMilvusHeader(indexFolder(path));
  const index = await describeIndex(path).catch(() => undefined);
  const compaction: StoreCompaction =
    codes === undefined ? await compactDatastore(path, options) : await compactCodes(path, options);
  const reindexes = compaction.entries > 0 && options.reindex !== false;
  if (compaction.indexRemoved) {
    if (remote) await keepAddress(path, remote);
    if (remote && !reindexes) await leaveMilvus(path, options.onWarning);
    if (reindexes) {
      compaction.index = await keepIndexed(path, {
        // On Milvus the renumbered entries go to a partition of their own, and the former one is dropped.
        index: remote ? 'auto' : 'ivf',
        codes: index?.codes,
        onProgress: options.onIndexProgress,
        onWarning: options.onWarning,
        signal: options.signal,
      });
    }
  }
  if (compaction.removedDocuments > 0) await replaceSettings(path, settings, compaction, options);
  return compaction;
}

/** Compaction took the index away, with it the note of where the entries are: nothing of them is searched there now. */
async function keepAddress(path: string, header: MilvusHeader): Promise<void> {
  const nothing = { entries: 0, sent: 0, removed: [], samples: [], sources: [] };
  await writeMilvusHeader(indexFolder(path), { ...header, ...nothing, isStale: true });
}

/** The manifest holds none that removed documents had a part in already; here new ones are found. */
async function replaceSettings(
  path: string,
  before: SettingsRecord | null,
  compaction: StoreCompaction,
  options: CompactStoreOptions,
): Promise<void> {
  if (before?.source === 'tuned' && before.gate) {
    compaction.settings = 'gate removed';
    options.onWarning?.(
      `the gate had been tuned while the removed documents were there, and is gone; k, lambda and temperature stay. To make a new one: knnlm tune ${path} TEXT...`,
    );
  }
  if (before?.source !== 'self-tuned') return;
  compaction.settings = 'defaults';
  if (options.selfTune === false || compaction.entries === 0) return;
  const found = await findSettings(path, options).catch((error) => {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    options.onWarning?.(
      `the settings had been found with the removed documents, and are the defaults now, since the model could not be used: ${error.message}`,
    );
    return undefined;
  });
  if (found) compaction.settings = 'found again';
}

async function findSettings(
  path: string,
  { model: given, onIndexProgress: onProgress, onWarning, signal }: CompactStoreOptions,
): Promise<UsedSettings | undefined> {
  const own = typeof given === 'object';
  const model = own
    ? given
    : await loadStoreModel(await readManifest(path), { model: given, onWarning, signal });
  try {
    return await keepTuned(path, model, { onProgress, onWarning, signal });
  } finally {
    if (!own) await model.close();
  }
}

/**
 * Of a store without keys: codes of what is left, numbered anew. Entries that were added with keys are coded first.
 * Centroids and codebooks stay as they were learned, with the removed text among the rest.
 */
async function compactCodes(path: string, options: CompactStoreOptions): Promise<StoreCompaction> {
  const { onIndexProgress, signal } = options;
  await dropKeys(path, { signal, onProgress: onIndexProgress });
  const folder = indexFolder(path);
  const compaction = await compactDatastore(path, {
    ...options,
    keepCodes: async (keep) => {
      const { codes } = await readManifest(path);
      const header = (await readHeader(folder, codes))!;
      const onProgress: FilterProgress = ({ phase, done, total }) =>
        onIndexProgress?.({ phase, done, total, unit: 'entries' });
      const kept = await filterIvf({ folder, header, keep, signal, onProgress });
      return kept.file.name;
    },
  });
  await withLock(path, async () => settleHeader(folder, (await readManifest(path)).codes!));
  return compaction;
}

type FilterProgress = Parameters<typeof filterIvf>[0]['onProgress'] & object;
