/** What the main thread and the search workers say to each other. */
import type { KeySource } from '../math/vectors.ts';
import type { Chunk } from './chunk.ts';
import type { FlatRanges } from './id-ranges.ts';
import type { KernelModules } from './kernels.ts';
import type { CodeSpace } from './query-code.ts';

/** What a worker is started with. */
export interface WorkerStart {
  worker: number;
  modules: KernelModules;
  chunks: Chunk[];
  dim: number;
  /** Empty when the keys were put into the chunks beforehand. */
  sources: readonly KeySource[];
}

/** Sums over a sample of a chunk's keys. */
export interface StatisticsTask {
  kind: 'statistics';
  chunk: number;
}
export interface Statistics {
  count: number;
  /** (d) */
  sums: Float64Array;
  /** (d) */
  squares: Float64Array;
}

/** Codes the rows [from, to) of a chunk, reading them first where they are in files. */
export interface EncodeTask {
  kind: 'encode';
  chunk: number;
  from: number;
  to: number;
  inverseUnit: number;
}
export interface Encoded {
  worstError: number;
  longestCode: number;
  /** Sum of the rows' scales. */
  scaleSum: number;
}

/** Gathers the codes of a chunk's sample, once all rows are coded. */
export interface SampleTask {
  kind: 'sample';
  chunk: number;
}

/** Ends building: what search needs to know of all the codes. */
export interface ReadyTask {
  kind: 'ready';
  space: CodeSpace;
}

/** Nearest neighbors of some queries among the rows [from, to) of a chunk. */
export interface SearchTask {
  kind: 'search';
  chunk: number;
  from: number;
  to: number;
  /** (q, d) */
  queries: Float32Array;
  k: number;
  /** (q) squared distances within which nothing may be missed; undefined: the worker guesses from its sample. */
  radii: Float64Array | undefined;
  /** Entries of the whole index that may be returned. */
  remaining: number;
  /** Entry ids left out, for all queries. */
  exclude: FlatRanges;
  /** (q) further ones. */
  excludePerQuery: FlatRanges[] | undefined;
  /** One number in shared memory; not 0 stops the search. */
  cancel: Int32Array;
}

/** Nearest first, equal distances in ascending id. */
export interface PartialNeighbors {
  /** Room per query. */
  stride: number;
  /** (q) neighbors found, at most k. */
  counts: Uint32Array;
  /** (q, stride) entry ids. */
  ids: Int32Array;
  /** (q, stride) */
  distances: Float32Array;
  /** (q) squared distance within which nothing is missing, unless k nearer ones are here. */
  radii: Float64Array;
}

/** Distances of some rows of a chunk, each query's in ascending order. Gives a `Float32Array`. */
export interface MeasureTask {
  kind: 'measure';
  chunk: number;
  /** (q, d) */
  queries: Float32Array;
  /** (q) as many as `rows` has of each. */
  counts: Uint32Array;
  rows: Uint32Array;
}

export type WorkerTask =
  | StatisticsTask
  | EncodeTask
  | SampleTask
  | ReadyTask
  | SearchTask
  | MeasureTask;
