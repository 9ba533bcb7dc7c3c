/**
 * The join between nearest-neighbor search and everything above it. Knows entry ids and vectors, nothing of text.
 * Shapes: n entries, d key width, q queries, k neighbors. Distances are squared L2, nearest first.
 */

import type { IdRange } from '../math/vectors.ts';

export interface SearchOptions {
  /** Neighbors wanted per query, 1 or more. When k exceeds the entries left, rows are padded. */
  k: number;
  /** Entries that must not be returned to any query: sorted, disjoint ranges. */
  exclude?: readonly IdRange[];
  /** (q) further ranges to leave out, one list per query: sorted, disjoint. */
  excludePerQuery?: readonly (readonly IdRange[])[];
  /** Of its usual work, what a search may take, where an index can find less for less: above 0, more than 1 too. Default 1. */
  effort?: number;
  signal?: AbortSignal;
}

/** The result of a search. Short rows are padded with id -1 and distance +Infinity. */
export interface Neighbors {
  k: number;
  /** (q, k) entry ids, nearest first; equal distances in ascending id. */
  ids: Int32Array;
  /** (q, k) squared L2 distances, nearest first. */
  distances: Float32Array;
  /** (q, k) what is stored with the entries, from an index that keeps it: the token after each context. */
  values?: Uint32Array;
}

/** Entries whose distances are wanted, query after query. */
export interface EntryRows {
  /** (q) how many of the ids are of each query. */
  counts: Uint32Array;
  /** Entry ids, ascending within a query. */
  ids: Uint32Array;
}

export interface VectorIndex {
  /** What kind of index this is, as `info` prints it: `flat`, `ivf`, … */
  readonly kind: string;
  /** n */
  readonly size: number;
  /** d */
  readonly dim: number;
  /** Bytes held in memory. */
  readonly memoryBytes: number;
  /** @param queries (q, d) row-major. Errors: `INVALID_ARGUMENT` for a wrong width or k < 1, `ABORTED`. */
  search(queries: Float32Array, options: SearchOptions): Promise<Neighbors>;
  /**
   * Squared L2 distances of entries that are known without a search: from their keys, or from the codes where keys were
   * dropped.
   * @param queries (q, d)
   * @returns as many as there are ids, in their order. Errors: `IO`, `STORE_CORRUPT`.
   */
  distances(queries: Float32Array, rows: EntryRows): Promise<Float32Array>;
  close(): Promise<void>;
}
