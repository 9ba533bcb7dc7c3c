/** Several indexes over consecutive entries as one: an inverted file and the newer entries that it does not hold, say. */
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import { rowsWithin } from './entry-rows.ts';
import { checkSearch } from './search-chunks.ts';
import type { EntryRows, Neighbors, SearchOptions, VectorIndex } from './vector-index.ts';

export class JoinedIndex implements VectorIndex {
  readonly kind: string;
  readonly size: number;
  readonly dim: number;
  readonly memoryBytes: number;
  readonly #parts: readonly VectorIndex[];
  /** Id of each part's first entry. */
  readonly #starts: number[];

  /** @param parts by ascending entry ids, one or more; they are closed with this index */
  constructor(parts: readonly VectorIndex[]) {
    this.#parts = parts;
    this.kind = parts[0]!.kind;
    this.dim = parts[0]!.dim;
    this.#starts = [];
    let size = 0;
    for (const part of parts) {
      this.#starts.push(size);
      size += part.size;
    }
    this.size = size;
    this.memoryBytes = parts.reduce((sum, part) => sum + part.memoryBytes, 0);
  }

  async search(queries: Float32Array, options: SearchOptions): Promise<Neighbors> {
    const q = checkSearch(this, queries, options);
    const { k, exclude = [] } = options;
    const searched = this.#parts
      .map((part, p) => ({ part, start: this.#starts[p]! }))
      .filter(({ part, start }) => !covers(exclude, start, start + part.size));
    const found = await Promise.all(
      searched.map(({ part, start }) =>
        part.search(queries, {
          ...options,
          // A short part's rows need not be as long as k.
          k: Math.max(1, Math.min(k, part.size)),
          exclude: shift(exclude, start),
          excludePerQuery: options.excludePerQuery?.map((own) => shift(own, start)),
        }),
      ),
    );
    const starts = searched.map(({ start }) => start);
    const result = { k, ids: new Int32Array(q * k), distances: new Float32Array(q * k) };
    const breather = new Breather();
    for (let query = 0; query < q; query++) {
      mergeRow(found, starts, query, result);
      await breather.pause();
    }
    return result;
  }

  async distances(queries: Float32Array, { counts, ids }: EntryRows): Promise<Float32Array> {
    const distances = new Float32Array(ids.length);
    await Promise.all(
      this.#parts.map(async (part, p) => {
        const start = this.#starts[p]!;
        const own = rowsWithin({ counts, ids }, start, start + part.size);
        if (own.places.length === 0) return;
        const found = await part.distances(queries, own);
        for (const [i, place] of own.places.entries()) distances[place] = found[i]!;
      }),
    );
    return distances;
  }

  async close(): Promise<void> {
    await Promise.all(this.#parts.map((part) => part.close()));
  }
}

/** Whether nothing of [start, end) is left to search. */
function covers(ranges: readonly IdRange[], start: number, end: number): boolean {
  return ranges.some(([from, to]) => from <= start && to >= end);
}

/** Ranges in a part's own ids; what lies outside is dropped by the part. */
function shift(ranges: readonly IdRange[], start: number): IdRange[] {
  return ranges.map(([from, to]): IdRange => [from - start, to - start]);
}

/** The k nearest of all parts; of equal distances the part with the smaller ids comes first. */
function mergeRow(
  found: readonly Neighbors[],
  starts: readonly number[],
  query: number,
  { k, ids, distances }: Neighbors,
): void {
  const heads = found.map((part) => query * part.k);
  for (let place = query * k; place < (query + 1) * k; place++) {
    let nearest = -1;
    let distance = Number.POSITIVE_INFINITY;
    for (let p = 0; p < found.length; p++) {
      const part = found[p]!;
      const head = heads[p]!;
      if (head === (query + 1) * part.k || part.ids[head] === -1) continue;
      if (nearest < 0 || part.distances[head]! < distance) {
        nearest = p;
        distance = part.distances[head]!;
      }
    }
    ids[place] = nearest < 0 ? -1 : found[nearest]!.ids[heads[nearest]!]! + starts[nearest]!;
    distances[place] = distance;
    if (nearest >= 0) heads[nearest]!++;
  }
}
