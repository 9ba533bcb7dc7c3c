/** Stored entries with their index: queries in, neighbors with their values out. */
import type { EntryRows, Neighbors, VectorIndex } from '../indexes/vector-index.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Entries } from './entries.ts';
import type { NeighborRow } from './interpolate.ts';
import { SharedSearch } from './shared-search.ts';

export interface RetrieveOptions {
  k: number;
  /** Entries that must not be retrieved, besides the deleted ones: sorted, disjoint ranges. */
  exclude?: readonly IdRange[];
  /** (q) one list of further ranges per query. */
  excludePerQuery?: readonly (readonly IdRange[])[];
  /** Searched one by one: the k nearest of each of these ranges, so that rows are as long as all together. Default: all at once. */
  within?: readonly IdRange[];
  /** See `SearchOptions`. Default 1. */
  effort?: number;
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
  readonly datastore: Entries;
  readonly index: VectorIndex;
  /** Milliseconds spent searching since the start, and queries. */
  searchMs = 0;
  queries = 0;

  readonly #shared = new SharedSearch((queries, options) => this.#retrieve(queries, options));

  constructor(datastore: Entries, index: VectorIndex) {
    this.datastore = datastore;
    this.index = index;
  }

  /**
   * Single queries of several callers at the same time are searched together. k larger than the datastore is cut to its size.
   * @param queries (q, d) row-major
   */
  retrieve(queries: Float32Array, options: RetrieveOptions): Promise<Retrieved> {
    const isSingle = queries.length === this.index.dim && !options.excludePerQuery;
    if (isSingle) return this.#shared.find(queries, options);
    return this.#retrieve(queries, options);
  }

  async #retrieve(queries: Float32Array, options: RetrieveOptions): Promise<Retrieved> {
    const started = performance.now();
    const exclude = mergeRanges([...this.datastore.excludedRanges(), ...(options.exclude ?? [])]);
    const found = await this.#search(queries, { ...options, exclude });
    const values = found.values ?? (await this.#valuesOf(found.ids));
    this.searchMs += performance.now() - started;
    this.queries += found.ids.length / found.k;
    return { ...found, values };
  }

  /** Squared L2 distances of entries that are known already. @param queries (q, d) @returns in the order of the ids */
  async distances(queries: Float32Array, rows: EntryRows): Promise<Float32Array> {
    const started = performance.now();
    const distances = await this.index.distances(queries, rows);
    this.searchMs += performance.now() - started;
    return distances;
  }

  async #search(
    queries: Float32Array,
    { within, ...options }: RetrieveOptions & { exclude: readonly IdRange[] },
  ): Promise<Neighbors> {
    const { size } = this.index;
    const upTo = (count: number): number => Math.max(1, Math.min(options.k, count));
    if (!within) return await this.index.search(queries, { ...options, k: upTo(size) });
    const found = within.map(([start, end]) =>
      this.index.search(queries, {
        ...options,
        k: upTo(end - start),
        exclude: mergeRanges([...options.exclude, [0, start], [end, size]]),
      }),
    );
    return await mergeNeighbors(await Promise.all(found));
  }

  #valuesOf(ids: Int32Array): Promise<Uint32Array> | Uint32Array {
    if (!ids.includes(-1)) return this.datastore.values(ids);
    // Everything may have been removed and compacted: then there is no entry 0 to stand for padding.
    if (this.index.size === 0) return new Uint32Array(ids.length);
    return this.datastore.values(ids.map((id) => Math.max(id, 0)));
  }
}

/** A row of what was retrieved. */
export interface RetrievedRow extends NeighborRow {
  /** (k) entry ids, -1 in padding. */
  ids: ArrayLike<number>;
}

/** One query's row, as views without copying. */
export function neighborRow(
  { k, ids, distances, values }: Retrieved,
  row: number,
  atMost = k,
): RetrievedRow {
  const start = row * k;
  const end = start + Math.min(k, atMost);
  return {
    ids: ids.subarray(start, end),
    distances: distances.subarray(start, end),
    values: values.subarray(start, end),
  };
}

/** Rows of several searches for the same queries, each as long as all of theirs together, nearest first. */
async function mergeNeighbors(parts: readonly Neighbors[]): Promise<Neighbors> {
  const k = parts.reduce((sum, part) => sum + part.k, 0);
  const q = parts[0]!.ids.length / parts[0]!.k;
  const ids = new Int32Array(q * k);
  const distances = new Float32Array(q * k);
  const breather = new Breather();
  for (let row = 0; row < q; row++) {
    const found = parts.flatMap((part) =>
      Array.from({ length: part.k }, (_, i) => ({
        id: part.ids[row * part.k + i]!,
        distance: part.distances[row * part.k + i]!,
      })),
    );
    found.sort((a, b) => (a.distance === b.distance ? a.id - b.id : a.distance - b.distance));
    for (const [i, { id, distance }] of found.entries()) {
      ids[row * k + i] = id;
      distances[row * k + i] = distance;
    }
    await breather.pause();
  }
  return { k, ids, distances };
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
