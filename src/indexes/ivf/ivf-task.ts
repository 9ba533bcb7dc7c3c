/** What the main thread and the workers that search an inverted file say to each other. */
import type { KeySource } from '../../math/vectors.ts';
import type { FlatRanges } from '../id-ranges.ts';
import type { IvfHeader } from './ivf-header.ts';

export interface ListWorkerStart {
  module: WebAssembly.Module;
  /** This worker has the lists l with l mod `workers` = `worker`. */
  worker: number;
  workers: number;
  path: string;
  header: IvfHeader;
  sources: readonly KeySource[];
  /** Bytes for lists in memory. */
  cacheBytes: number;
}

/** Opens and checks the file. Gives a `ReadyResult`. */
export interface ReadyTask {
  kind: 'ready';
}
export interface ReadyResult {
  memoryBytes: number;
}

/** The nearest rows of this worker's lists. */
export interface ProbeTask {
  kind: 'probe';
  /** (q, d) */
  queries: Float32Array;
  /** Rows wanted per query. */
  depth: number;
  probes: number;
  spreadWeight: number;
  /** Entry ids left out, for all queries. */
  exclude: FlatRanges;
  /** (q) further ones. */
  excludePerQuery: FlatRanges[] | undefined;
  control: Int32Array;
  /** (q, workers) `SharedLimits` */
  limits: Uint32Array;
}

/** Places of the shared numbers by which a search is stopped and followed. */
export const CONTROL = {
  /** Not 0: stop. */
  cancel: 0,
  /** Lists scanned, each as often as there are queries that wanted it. */
  scanned: 1,
  /** Keys compared. */
  compared: 2,
} as const;

export const newControl = (): Int32Array => new Int32Array(new SharedArrayBuffer(4 * 3));

/** Exact distances of some entries. */
export interface RerankTask {
  kind: 'rerank';
  /** (q, d) */
  queries: Float32Array;
  /** (q) as many as `ids` has of each. */
  counts: Uint32Array;
  /** Entry ids, query after query. */
  ids: Uint32Array;
  control: Int32Array;
}

/** Distances of some entries, each query's in ascending order: by keys, or by the codes in this worker's lists. */
export interface MeasureTask extends Omit<RerankTask, 'kind' | 'control'> {
  kind: 'measure';
}

/** Rows with their distances; each query's nearest first, equal ones in ascending id. */
export interface RankedRows {
  /** (q) */
  counts: Uint32Array;
  /** (sum of counts, 2) entry id, bits of the f32 distance. */
  pairs: Uint32Array;
}

/** The same for who has more of an entry than its id. */
export interface RankTask extends Omit<RerankTask, 'kind'> {
  kind: 'rank';
}
/** Each query's entries, nearest first, equal ones in ascending id. */
export interface RankedPlaces {
  /** (sum of counts) places in the task's ids. */
  places: Uint32Array;
  /** (sum of counts) squared L2 distances. */
  distances: Float32Array;
}

export type ListTask = ReadyTask | ProbeTask | RerankTask | MeasureTask;

/** Most queries of a task: enough that most lists are wanted by several and matrix products pay. */
export const MOST_QUERIES = 512;
/** From so many queries on, what they want from disk is read in the order it lies there, and once for all of them. */
export const BATCH_QUERIES = 32;
/** Pairs of candidates that a worker has room for. */
export const MOST_PAIRS = 2 ** 22;
/** Rows of a list scanned before candidates are looked at. */
export const BLOCK_ROWS = 1024;

/** Candidates kept per query between two choices of the nearest. */
export const candidateRoom = (depth: number): number => 2 * depth + BLOCK_ROWS;
