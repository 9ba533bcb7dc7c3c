/** Plans a search over chunks of codes: tiles of queries times parts of the rows, each a task for a worker. */
import { KnnLMError } from '../errors.ts';
import type { Chunk } from './chunk.ts';
import { countIds, type FlatRanges, flattenRanges } from './id-ranges.ts';
import { mergePartials } from './merge-partials.ts';
import type { PartialNeighbors, SearchTask } from './search-task.ts';
import type { Neighbors, SearchOptions } from './vector-index.ts';
import type { WorkerPool } from './worker-pool.ts';

export interface IndexSource {
  chunks: readonly Chunk[];
  pool: WorkerPool | undefined;
  size: number;
  dim: number;
}

/** Queries per task: enough for a matrix product, few enough that products and candidates stay in a core's caches. */
const TILE_QUERIES = 128;
/** Most neighbors of a task, so that results come in pieces the main thread copies in a few milliseconds. */
const TILE_NEIGHBORS = 2 ** 19;
/** Fewer rows are not worth a task of their own. */
const LEAST_PART_ROWS = 4096;

interface Part {
  chunk: number;
  from: number;
  to: number;
}

interface Search {
  source: IndexSource;
  queries: Float32Array;
  k: number;
  exclude: FlatRanges;
  excludePerQuery: FlatRanges[] | undefined;
  remaining: number;
  cancel: Int32Array;
  parts: Part[];
  result: Neighbors;
}

export async function searchChunks(
  source: IndexSource,
  queries: Float32Array,
  options: SearchOptions,
): Promise<Neighbors> {
  const q = checkSearch(source, queries, options);
  const { k, signal } = options;
  const result = {
    k,
    ids: new Int32Array(q * k),
    distances: new Float32Array(q * k),
  };
  if (q === 0) return result;
  if (source.size === 0) {
    result.ids.fill(-1);
    result.distances.fill(Number.POSITIVE_INFINITY);
    return result;
  }
  const { size, chunks, pool } = source;
  const exclude = flattenRanges(options.exclude ?? [], size, true);
  const tile = Math.max(1, Math.min(TILE_QUERIES, Math.floor(TILE_NEIGHBORS / Math.min(k, size))));
  const tiles = Math.ceil(q / tile);
  const search: Search = {
    source,
    queries,
    k,
    exclude,
    excludePerQuery: options.excludePerQuery?.map((ranges) => flattenRanges(ranges, size)),
    remaining: size - countIds(exclude),
    cancel: new Int32Array(new SharedArrayBuffer(4)),
    parts: splitRows(chunks, partsPerChunk(tiles, pool!.threads)),
    result,
  };
  const stop = () => Atomics.store(search.cancel, 0, 1);
  signal?.addEventListener('abort', stop, { once: true });
  try {
    await Promise.all(
      Array.from({ length: tiles }, (_, t) => {
        const first = t * tile;
        const count = Math.min(tile, q - first);
        return searchTile(
          search,
          Array.from({ length: count }, (_, i) => first + i),
        );
      }),
    );
  } catch (error) {
    stop(); // the other tiles' work is of no use
    throw error;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
  return result;
}

/** Whole rows when there are tiles enough to keep all threads busy to the end, otherwise a part for each thread. */
function partsPerChunk(tiles: number, threads: number): number {
  return tiles >= 4 * threads || tiles % threads === 0 ? 1 : threads;
}

function splitRows(chunks: readonly Chunk[], parts: number): Part[] {
  return chunks.flatMap(({ layout: { rows } }, chunk) => {
    const count = Math.max(1, Math.min(parts, Math.floor(rows / LEAST_PART_ROWS)));
    const edge = (p: number) => Math.floor((rows * p) / count);
    return Array.from({ length: count }, (_, p) => ({ chunk, from: edge(p), to: edge(p + 1) }));
  });
}

/** Searches some queries, and again, with radii now known to suffice, those whose guessed radius was too small. */
async function searchTile(search: Search, wanted: number[]): Promise<void> {
  const { k, exclude, excludePerQuery, cancel, result, source } = search;
  let indices = wanted;
  let radii: Float64Array | undefined;
  while (indices.length > 0) {
    const own = excludePerQuery && indices.map((i) => excludePerQuery[i]!);
    const queries = gatherQueries(search.queries, indices, source.dim);
    const partials = await Promise.all(
      search.parts.map((part) => {
        const task: SearchTask = {
          kind: 'search',
          ...part,
          queries,
          k,
          radii,
          remaining: search.remaining,
          exclude,
          excludePerQuery: own,
          cancel,
        };
        return source.pool!.run<PartialNeighbors>(task);
      }),
    );
    const unfinished = mergePartials(partials, {
      k,
      rows: indices.map((i) => i * k),
      remaining: indices.map((_, i) => search.remaining - (own ? countNew(own[i]!, exclude) : 0)),
      ids: result.ids,
      distances: result.distances,
    });
    radii = Float64Array.from(unfinished, ({ radius }) => radius);
    indices = unfinished.map(({ query }) => indices[query]!);
  }
}

/** Ids of `ranges` that are not in `others`. */
function countNew(ranges: FlatRanges, others: FlatRanges): number {
  let count = countIds(ranges);
  for (let r = 0, o = 0; r < ranges.length && o < others.length; ) {
    const from = Math.max(ranges[r]!, others[o]!);
    const to = Math.min(ranges[r + 1]!, others[o + 1]!);
    count -= Math.max(0, to - from);
    if (ranges[r + 1]! <= others[o + 1]!) r += 2;
    else o += 2;
  }
  return count;
}

function gatherQueries(queries: Float32Array, indices: number[], dim: number): Float32Array {
  const out = new Float32Array(indices.length * dim);
  for (const [i, q] of indices.entries())
    out.set(queries.subarray(q * dim, (q + 1) * dim), i * dim);
  return out;
}

/** @returns q */
export function checkSearch(
  { dim }: { dim: number },
  queries: Float32Array,
  options: SearchOptions,
): number {
  const { k, excludePerQuery, signal } = options;
  if (signal?.aborted) throw new KnnLMError('ABORTED', 'The search was stopped before it began.');
  if (!Number.isInteger(k) || k < 1) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `k must be an integer of 1 or more, not ${k}. Try 1024.`,
    );
  }
  if (queries.length % dim !== 0) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `Queries must be rows of width ${dim}, but ${queries.length} numbers were given. Use the model whose keys are in the index.`,
    );
  }
  const q = queries.length / dim;
  if (excludePerQuery && excludePerQuery.length !== q) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `excludePerQuery must have one list for each of the ${q} queries, not ${excludePerQuery.length}. Pass [] for a query that excludes nothing.`,
    );
  }
  return q;
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkFinite(queries: Float32Array): void {
  // `every` would make an object of each number.
  for (let i = 0; i < queries.length; i++) {
    if (Number.isFinite(queries[i]!)) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'A query holds a value that is not finite. Check the model that made it.',
    );
  }
}
