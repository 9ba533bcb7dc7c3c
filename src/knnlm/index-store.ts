/**
 * Builds the inverted file of a datastore and chooses how it is searched: as few lists as keep the error in the mixture's
 * log-probability below what was asked. The queries are stored keys that may not find their own documents.
 */
import { Datastore } from '../datastore/datastore.ts';
import { freeDiskBytes } from '../datastore/files.ts';
import { readManifest } from '../datastore/manifest.ts';
import { withLock } from '../datastore/store-lock.ts';
import { KnnLMError } from '../errors.ts';
import { buildIvf } from '../indexes/ivf/build-ivf.ts';
import type { IvfSettings } from '../indexes/ivf/ivf-header.ts';
import { IvfIndex } from '../indexes/ivf/ivf-index.ts';
import { type Trial, tuneIvf } from '../indexes/ivf/tune-ivf.ts';
import { indexFolder } from './index-folder.ts';
import { MAX_ERROR, measureIndex } from './measure-index.ts';
import { leaveMilvus } from './milvus-store.ts';
import type { Progress } from './types.ts';

/** Queries that the error is measured on. */
const QUERIES = 512;
export interface IndexStoreRequest {
  /** k-means lists. Default: about 4 √entries, a power of two. */
  lists?: number;
  /**
   * Mean change of the mixture's log-probability that approximate search may cause, in nats. Lower reads more lists.
   * Default 0.01, which moves perplexity by less: frequencies stand in for the model, and errors of both signs cancel.
   */
  maxError?: number;
  /** Bytes of memory to use. Default 1 GiB. */
  memoryBytes?: number;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  onProgress?: (progress: Progress) => void;
  onWarning?: (message: string) => void;
  signal?: AbortSignal;
}

export interface IndexStoreResult {
  kind: 'ivf';
  entries: number;
  lists: number;
  /** On disk, the index alone. */
  bytes: number;
  seconds: number;
  settings: IvfSettings;
  /** Share of the true neighbors found with these settings. */
  recall: number;
  /** Mean |Δ log p| of the mixture, in nats. */
  error: number;
  /** False when no setting keeps the error below what was asked; the most exact one was taken. */
  reached: boolean;
  /** What was measured on the way. */
  trials: Trial[];
}

/**
 * Nobody else may write meanwhile: a compaction would leave the keys of removed documents in the new index.
 * Errors: `STORE_NOT_FOUND`, `STORE_LOCKED`, `NO_DOCUMENTS`, `DISK_FULL`, `INVALID_ARGUMENT`, `STORE_CORRUPT`, `IO`, `ABORTED`.
 */
export async function indexStore(
  store: string,
  request: IndexStoreRequest = {},
): Promise<IndexStoreResult> {
  await readManifest(store);
  return await withLock(store, () => indexLocked(store, request));
}

/** As `indexStore`, for who holds the store's lock. */
export async function indexLocked(
  store: string,
  request: IndexStoreRequest,
): Promise<IndexStoreResult> {
  const started = performance.now();
  const { maxError = MAX_ERROR, threads, memoryBytes, lists, signal } = request;
  const { onProgress, onWarning } = request;
  if (!(maxError > 0)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `maxError must be a positive number of nats, not ${maxError}. Try ${MAX_ERROR}.`,
    );
  }
  const datastore = await Datastore.open(store);
  try {
    const sources = datastore.keySources();
    const dim = datastore.keyDim;
    const folder = indexFolder(store);
    await checkRoom(datastore, store);
    const header = await buildIvf({
      folder,
      sources,
      dim,
      lists,
      memoryBytes,
      threads,
      signal,
      onProgress: ({ phase, done, total }) =>
        onProgress?.({
          phase,
          done: Math.round((done / total) * datastore.entries),
          total: datastore.entries,
          unit: 'entries',
        }),
    });
    const index = await IvfIndex.open({ folder, sources, memoryBytes, threads, header });
    try {
      const tuned = await tune(index, datastore, { folder, maxError, onProgress, signal });
      // Only now: until here its entries were searched where they were.
      await leaveMilvus(store, onWarning);
      return {
        kind: 'ivf',
        entries: header.entries,
        lists: header.lists,
        bytes: header.file.bytes,
        seconds: (performance.now() - started) / 1000,
        ...tuned,
      };
    } finally {
      await index.close();
    }
  } finally {
    await datastore.close();
  }
}

async function checkRoom(datastore: Datastore, store: string): Promise<void> {
  if (datastore.entries === 0) {
    throw new KnnLMError(
      'NO_DOCUMENTS',
      `The datastore ${store} holds no entries yet. Build it first: knnlm build DOCS... --out ${store}`,
    );
  }
  // Codes in entry order, and again in lists: a byte per dimension, 8 and 12 more.
  const needed = datastore.entries * (2 * (datastore.keyDim + 16) + 20);
  const free = await freeDiskBytes(store);
  if (needed <= free) return;
  const mb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  throw new KnnLMError(
    'DISK_FULL',
    `Indexing ${store} needs ${mb(needed)}, but ${mb(free)} are free. Free some space, or go on with exact search.`,
  );
}

interface TuneRequest {
  folder: string;
  maxError: number;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

async function tune(
  index: IvfIndex,
  datastore: Datastore,
  { folder, maxError, onProgress, signal }: TuneRequest,
): Promise<Pick<IndexStoreResult, 'settings' | 'recall' | 'error' | 'reached' | 'trials'>> {
  const measure = await measureIndex(datastore, QUERIES);
  const count = measure.excludePerQuery.length;
  let searched = 0;
  const tuned = await tuneIvf(index, {
    folder,
    ...measure,
    maxError,
    onTrial: () => {
      searched += count;
      onProgress?.({ phase: 'tuning', done: searched, unit: 'entries' });
    },
    signal,
  });
  const { settings } = tuned.header;
  const chosen = tuned.trials.at(-1)!;
  const { recall, error } = chosen;
  return { settings, recall, error, reached: tuned.reached, trials: tuned.trials };
}
