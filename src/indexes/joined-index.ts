/**
 * Several indexes searched as one: the first holds entries from 0 on, each further one those after. Entries added to a
 * datastore are thus found without building the index of the others again.
 */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Neighbors, SearchOptions, VectorIndex } from './vector-index.ts';

export class JoinedIndex implements VectorIndex {
  readonly kind: string;
  readonly size: number;
  readonly dim: number;
  readonly #parts: readonly { index: VectorIndex; first: number }[];

  /** @param indexes one or more of one width, in the order of their entries */
  constructor(indexes: readonly VectorIndex[]) {
    let size = 0;
    this.#parts = indexes.map((index) => {
      const first = size;
      size += index.size;
      return { index, first };
    });
    this.size = size;
    this.dim = indexes[0]!.dim;
    this.kind = indexes[0]!.kind;
  }

  get memoryBytes(): number {
    return this.#parts.reduce((sum, { index }) => sum + index.memoryBytes, 0);
  }

  async search(queries: Float32Array, options: SearchOptions): Promise<Neighbors> {
    const { k, exclude, excludePerQuery, signal } = options;
    if (!Number.isInteger(k) || k < 1) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `k must be an integer of 1 or more, not ${k}. Try 1024.`,
      );
    }
    const found = await Promise.all(
      this.#parts.map(({ index, first }) => {
        const last = first + index.size;
        return index.search(queries, {
          // A short part's rows need not be as long as k.
          k: Math.max(1, Math.min(k, index.size)),
          exclude: exclude && within(exclude, first, last),
          excludePerQuery: excludePerQuery?.map((ranges) => within(ranges, first, last)),
          signal,
        });
      }),
    );
    const q = queries.length / this.dim;
    const ids = new Int32Array(q * k).fill(-1);
    const distances = new Float32Array(q * k).fill(Number.POSITIVE_INFINITY);
    for (let query = 0; query < q; query++) this.#merge(found, query, k, { ids, distances });
    return { k, ids, distances };
  }

  /** Writes one query's row. Parts come in ascending id, so the earlier one goes first at equal distance. */
  #merge(
    found: readonly Neighbors[],
    query: number,
    k: number,
    out: { ids: Int32Array; distances: Float32Array },
  ): void {
    const heads = found.map((part) => query * part.k);
    for (let i = query * k; i < (query + 1) * k; i++) {
      let nearest = -1;
      let distance = Number.POSITIVE_INFINITY;
      for (let p = 0; p < found.length; p++) {
        const { k: width, ids, distances } = found[p]!;
        const head = heads[p]!;
        if (head === (query + 1) * width || ids[head] === -1) continue;
        if (nearest >= 0 && distances[head]! >= distance) continue;
        nearest = p;
        distance = distances[head]!;
      }
      if (nearest < 0) return;
      out.ids[i] = found[nearest]!.ids[heads[nearest]!]! + this.#parts[nearest]!.first;
      out.distances[i] = distance;
      heads[nearest]!++;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#parts.map(({ index }) => index.close()));
  }
}

/** The parts of ranges that lie in [first, last), counted from `first`. */
function within(ranges: readonly IdRange[], first: number, last: number): IdRange[] {
  return ranges
    .map(([start, end]): IdRange => [Math.max(start, first) - first, Math.min(end, last) - first])
    .filter(([start, end]) => start < end);
}
