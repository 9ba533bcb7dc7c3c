/** A datastore with its index: queries in, neighbors with their values out. */
import type { Datastore } from '../datastore/datastore.ts';
import type { VectorIndex } from '../indexes/vector-index.ts';
import type { IdRange } from '../math/vectors.ts';
import type { NeighborRow } from './interpolate.ts';

export interface RetrieveOptions {
  k: number;
  /** Entries that must not be retrieved, besides the deleted ones: sorted, disjoint ranges. */
  exclude?: readonly IdRange[];
  /** (q) one list of further ranges per query. */
  excludePerQuery?: readonly (readonly IdRange[])[];
  signal?: AbortSignal;
}

/** Row r holds query r's neighbors, nearest first; short rows end in id -1 and distance +Infinity. */
export interface Retrieved {
  k: number;
  /** (q, k) entry ids. */
  ids: Int32Array;
  /** (q, k) squared L2 distances. */
  distances: Float32Array;
  /** (q, k) token ids that followed; meaningless in padding. */
  values: Uint32Array;
}

export class Retriever {
  readonly datastore: Datastore;
  readonly index: VectorIndex;
  /** Milliseconds spent searching since the start. */
  searchMs = 0;

  constructor(datastore: Datastore, index: VectorIndex) {
    this.datastore = datastore;
    this.index = index;
  }

  /** @param queries (q, d) row-major. k larger than the datastore is cut to its size. */
  async retrieve(queries: Float32Array, options: RetrieveOptions): Promise<Retrieved> {
    const started = performance.now();
    const exclude = mergeRanges([...this.datastore.excludedRanges(), ...(options.exclude ?? [])]);
    const k = Math.max(1, Math.min(options.k, this.index.size));
    const { ids, distances } = await this.index.search(queries, { ...options, k, exclude });
    const values = await this.#valuesOf(ids);
    this.searchMs += performance.now() - started;
    return { k, ids, distances, values };
  }

  #valuesOf(ids: Int32Array): Promise<Uint32Array> | Uint32Array {
    if (!ids.includes(-1)) return this.datastore.values(ids);
    // Everything may have been removed and compacted: then there is no entry 0 to stand for padding.
    if (this.index.size === 0) return new Uint32Array(ids.length);
    return this.datastore.values(ids.map((id) => Math.max(id, 0)));
  }
}

/** One query's row, as views without copying. */
export function neighborRow(
  { k, distances, values }: Retrieved,
  row: number,
  atMost = k,
): NeighborRow {
  const start = row * k;
  const end = start + Math.min(k, atMost);
  return { distances: distances.subarray(start, end), values: values.subarray(start, end) };
}

/** Sorts ranges and joins those that touch. */
export function mergeRanges(ranges: readonly IdRange[]): IdRange[] {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const merged: [number, number][] = [];
  for (const [start, end] of sorted) {
    const last = merged.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else if (start < end) merged.push([start, end]);
  }
  return merged;
}
