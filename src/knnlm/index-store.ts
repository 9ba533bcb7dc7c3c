/**
 * Builds the inverted file of a datastore and chooses how it is searched: as few lists as keep the error in the mixture's
 * log-probability below what was asked. The queries are stored keys that may not find their own documents.
 */
import { Datastore } from '../datastore/datastore.ts';
import { freeDiskBytes } from '../datastore/files.ts';
import { entriesOf, readManifest } from '../datastore/manifest.ts';
import { withLock } from '../datastore/store-lock.ts';
import { KnnLMError } from '../errors.ts';
import { bytesPerKey, paddedWidth } from '../indexes/chunk.ts';
import {
  buildIvf,
  DEFAULT_MEMORY_BYTES,
  defaultLists,
  type IvfProgress,
} from '../indexes/ivf/build-ivf.ts';
import { codedRowBytes } from '../indexes/ivf/build-task.ts';
import { type Codec, keylessCodes, parseCodec } from '../indexes/ivf/codec.ts';
import {
  type IvfHeader,
  type IvfSettings,
  readHeader,
  unindexedSources,
} from '../indexes/ivf/ivf-header.ts';
import { IvfIndex } from '../indexes/ivf/ivf-index.ts';
import { transcodeIvf } from '../indexes/ivf/transcode-ivf.ts';
import {
  DEEPER,
  type IndexTrials,
  type Trial,
  tuneIvf,
  tuneRerank,
} from '../indexes/ivf/tune-ivf.ts';
import { dropKeysLocked } from './drop-keys.ts';
import { describeIndex, type IndexInfo, indexFolder } from './index-folder.ts';
import { indexJudge, MAX_ERROR, QUERIES, QUERIES_ON_DISK } from './index-judge.ts';
import { type DiskRoom, type IndexPlan, indexingBytes, planAfterTwoSteps } from './index-plan.ts';
import { leaveMilvus } from './milvus/leave-milvus.ts';
import type { Progress } from './types.ts';

export interface IndexStoreRequest {
  /** k-means lists. Default: about 4 √entries, a power of two. */
  lists?: number;
  /**
   * Mean change of the mixture's log-probability that approximate search may cause, in nats. Lower reads more lists.
   * Default 0.005, which moves perplexity by a third of that or less: frequencies stand in for the model, and errors of both
   * signs cancel (docs/results/inverted-file.md).
   */
  maxError?: number;
  /**
   * How keys are coded. `sq8`: 8 bits per dimension, distances as good as exact. `pq32`, `pq64`, …: product codes of so
   * many bytes, whose distances are rough; `pq64x4`: of 64 times 4 bits, quicker and rougher. With rough distances more
   * neighbors are compared exactly, by their keys, to stay within the error. Default: what there is, else `sq8`.
   */
  codes?: string;
  /**
   * Whether the keys are removed once their codes are there; distances are then the codes' own. Codes must be product
   * codes: `pq32` by default, with which an entry takes under 40 bytes in all. Default false.
   */
  dropKeys?: boolean;
  /** Bytes of memory to use. Default 1 GiB. */
  memoryBytes?: number;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  onWarning?: (message: string) => void;
  /** Told once, when two steps of training have shown how quick the machine is; not where lists are only coded anew. */
  onIndexPlan?: (plan: IndexPlan) => void;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface IndexStoreResult {
  kind: 'ivf';
  entries: number;
  lists: number;
  codes: string;
  /** On disk, the index alone. */
  bytes: number;
  seconds: number;
  settings: IvfSettings;
  /** Share of the true neighbors found with these settings. */
  recall: number;
  /** Mean |Δ log p| of the mixture, in nats. */
  error: number;
  /** Of that mean, which is of a sample of queries. */
  standardError?: number;
  /**
   * False when no setting keeps the error below what was asked, by two standard errors or more; the most exact one was taken.
   * Where more lists hardly lower an error that is within two, the fewest such lists were.
   */
  reached: boolean;
  /** What was measured on the way. */
  trials: Trial[];
  /** Bytes of keys that were removed. */
  keyBytes?: number;
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
  return await withLock(store, async (lock) => {
    const result = await indexLocked(store, request);
    if (!request.dropKeys) return result;
    const { keyBytes } = await dropKeysLocked(store, lock, request);
    const { entries, index } = await droppedNow(store);
    return { ...result, entries, bytes: index.bytes!, keyBytes };
  });
}

async function droppedNow(store: string): Promise<{ entries: number; index: IndexInfo }> {
  const manifest = await readManifest(store);
  return { entries: entriesOf(manifest), index: await describeIndex(store, manifest.codes) };
}

/** As `indexStore`, for who holds the store's lock; but the keys stay: `dropKeysLocked` removes them afterwards. */
export async function indexLocked(
  store: string,
  request: IndexStoreRequest,
): Promise<IndexStoreResult> {
  const started = performance.now();
  const { maxError = MAX_ERROR, memoryBytes = DEFAULT_MEMORY_BYTES } = request;
  if (!(maxError > 0)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `maxError must be a positive number of nats, not ${maxError}. Try ${MAX_ERROR}.`,
    );
  }
  const datastore = await Datastore.open(store);
  try {
    if (datastore.dropped) return await indexThere(datastore, datastore.dropped.codes, request);
    const there = await readHeader(indexFolder(store)).catch(() => undefined);
    const codes = wantedCodes(request, datastore.keyDim, there);
    const codec = parseCodec(codes, datastore.keyDim);
    if (request.dropKeys) requireCompact(datastore);
    const room = await checkRoom(datastore, store);
    const work: Work = { ...request, store, datastore, maxError, room, memoryBytes };
    const isReused = codec && there && (await isWhole(there, work));
    const lists = isReused ? there : await build(work);
    const trials: IndexTrials = {
      ...(await indexJudge(datastore, queriesFor(lists.file.bytes, memoryBytes))),
      folder: indexFolder(store),
      maxError,
      onTruth: inBytes(work, lists),
      onTrial: countTrials(request.onProgress),
      signal: request.signal,
    };
    let tuned = await withIndex(work, lists, (index) => tuneIvf(index, trials));
    if (codec) {
      const coded = await transcode(work, tuned.header, codec);
      const { truth } = tuned;
      const reranks = request.dropKeys ? [0] : DEEPER;
      tuned = await withIndex(work, coded, (index) =>
        tuneRerank(index, { ...trials, truth, reranks }),
      );
    }
    const { header, reached, chosen } = tuned;
    const { recall, error, standardError } = chosen;
    // Only now: until here its entries were searched where they were.
    await leaveMilvus(store, request.onWarning);
    return {
      kind: 'ivf',
      entries: header.entries,
      lists: header.lists,
      codes,
      bytes: header.file.bytes,
      seconds: (performance.now() - started) / 1000,
      settings: header.settings,
      recall,
      error,
      standardError,
      reached,
      trials: tuned.trials,
    };
  } finally {
    await datastore.close();
  }
}

/** Errors: `INVALID_ARGUMENT` for codes that cannot do without keys. */
function wantedCodes(
  { codes, dropKeys }: IndexStoreRequest,
  dim: number,
  there?: IvfHeader,
): string {
  const wanted = codes ?? there?.codec?.name ?? (dropKeys ? keylessCodes(dim) : 'sq8');
  if (!dropKeys || wanted !== 'sq8') return wanted;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `Keys can be dropped for product codes only, not for sq8. Leave --codes out for ${keylessCodes(dim)}.`,
  );
}

/** Without keys nothing can be learned anew: what is learned from removed text would stay. Errors: `INVALID_ARGUMENT`. */
function requireCompact({ path, entries, liveEntries }: Datastore): void {
  if (entries === liveEntries) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${entries - liveEntries} entries of removed documents are still in ${path}, and codes would be learned from them for good. Take them out first: knnlm compact ${path}`,
  );
}

/** Of a store without keys: the index that is there. Errors: `INVALID_ARGUMENT` when another is asked for. */
async function indexThere(
  { path, entries }: Datastore,
  file: string,
  { codes, dropKeys }: IndexStoreRequest,
): Promise<IndexStoreResult> {
  const header = (await readHeader(indexFolder(path), file))!;
  const name = header.codec!.name;
  if (!dropKeys || (codes ?? name) !== name) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The keys of ${path} were dropped, so its index (${name}) cannot be made anew. Code what was added since: knnlm index ${path} --drop-keys`,
    );
  }
  const { recall, error, standardError, maxError } = header.evidence as Record<string, number>;
  return {
    kind: 'ivf',
    entries,
    lists: header.lists,
    codes: name,
    bytes: header.file.bytes,
    seconds: 0,
    settings: header.settings,
    recall: recall!,
    error: error!,
    standardError,
    reached: error! <= maxError!,
    trials: [],
  };
}

interface Work extends IndexStoreRequest {
  store: string;
  datastore: Datastore;
  maxError: number;
  memoryBytes: number;
  room: DiskRoom;
}

/** Whether an index of 8-bit codes is there of all entries, so that only its codes need be made anew. */
async function isWhole(there: IvfHeader, { datastore, lists }: Work): Promise<boolean> {
  if (there.codec || lists !== undefined || there.entries !== datastore.entries) return false;
  return await unindexedSources(there, datastore.keySources(), datastore.keyDim).then(
    () => true,
    () => false,
  );
}

function build(work: Work): Promise<IvfHeader> {
  const { store, datastore, memoryBytes, threads, signal, room, onIndexPlan } = work;
  const { entries, keyDim: dim } = datastore;
  const lists = work.lists ?? defaultLists(entries);
  const queries = queriesFor(entries * codedRowBytes(paddedWidth(dim)), memoryBytes);
  const planned = planAfterTwoSteps({ entries, dim, lists, queries, threads, room }, onIndexPlan);
  const told = inEntries(work);
  return buildIvf({
    folder: indexFolder(store),
    sources: datastore.keySources(),
    dim,
    lists,
    memoryBytes,
    threads,
    signal,
    onProgress: (progress) => {
      planned(progress);
      told(progress);
    },
  });
}

function transcode(work: Work, header: IvfHeader, codec: Codec): Promise<IvfHeader> {
  const { store, threads, signal } = work;
  const folder = indexFolder(store);
  return transcodeIvf({ folder, header, codec, threads, signal, onProgress: inEntries(work) });
}

const inEntries =
  ({ datastore: { entries }, onProgress }: Work) =>
  ({ phase, done, total }: IvfProgress): void =>
    onProgress?.({
      phase,
      done: Math.round((done / total) * entries),
      total: entries,
      unit: 'entries',
    });

const queriesFor = (listBytes: number, memoryBytes: number): number =>
  listBytes <= memoryBytes ? QUERIES : QUERIES_ON_DISK;

/** What is gone through to find the true neighbors: all lists, and the keys at most. */
function inBytes({ datastore, onProgress }: Work, { file, entries }: IvfHeader) {
  const keys = entries * bytesPerKey(datastore.header.key.dtype, datastore.keyDim);
  return (scanned: number, compared: number): void =>
    onProgress?.({
      phase: 'comparing',
      done: Math.round(scanned * file.bytes + compared * keys),
      total: file.bytes + keys,
      unit: 'bytes',
    });
}

function countTrials(onProgress: IndexStoreRequest['onProgress']): (trial: Trial) => void {
  let searched = 0;
  return ({ queries }) => {
    searched += queries;
    onProgress?.({ phase: 'tuning', done: searched, unit: 'entries' });
  };
}

async function withIndex<Result>(
  { store, datastore, memoryBytes, threads }: Work,
  header: IvfHeader,
  use: (index: IvfIndex) => Promise<Result>,
): Promise<Result> {
  const sources = datastore.keySources();
  const folder = indexFolder(store);
  const index = await IvfIndex.open({ folder, sources, memoryBytes, threads, header });
  try {
    return await use(index);
  } finally {
    await index.close();
  }
}

async function checkRoom(datastore: Datastore, store: string): Promise<DiskRoom> {
  if (datastore.entries === 0) {
    throw new KnnLMError(
      'NO_DOCUMENTS',
      `The datastore ${store} holds no entries yet. Build it first: knnlm build DOCS... --out ${store}`,
    );
  }
  const diskBytes = indexingBytes(datastore.entries, datastore.keyDim);
  const free = await freeDiskBytes(store);
  if (diskBytes <= free) return { diskBytes, freeDiskBytes: free };
  const mb = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  throw new KnnLMError(
    'DISK_FULL',
    `Indexing ${store} needs ${mb(diskBytes)}, but ${mb(free)} are free. Free some space, or go on with exact search.`,
  );
}
