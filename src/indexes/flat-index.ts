/**
 * Exact search: an 8-bit scan that provably misses nothing, then exact distances of what it found (`query-code.ts` has
 * the bound). Scans run in worker threads; the main thread only hands out tiles of queries and joins the results.
 */
import { availableParallelism } from 'node:os';
import { KnnLMError } from '../errors.ts';
import type { KeySource } from '../math/vectors.ts';
import { buildCodes } from './build-codes.ts';
import {
  allocateChunk,
  bytesPerRow,
  type Chunk,
  chunkLayout,
  chunkRows,
  type KeyShape,
} from './chunk.ts';
import { rowsWithin } from './entry-rows.ts';
import { compileKernels } from './kernels.ts';
import { type IndexSource, searchChunks } from './search-chunks.ts';
import type { MeasureTask } from './search-task.ts';
import type { EntryRows, Neighbors, SearchOptions, VectorIndex } from './vector-index.ts';
import { WorkerPool } from './worker-pool.ts';

export interface OpenIndexOptions {
  /** Keys, all of one dtype; entry ids count through them. */
  sources: readonly KeySource[];
  /** d */
  dim: number;
  /**
   * Bytes the index may hold. Keys are kept in memory beside their codes when both fit; otherwise the few that are
   * compared exactly are read from their files. Codes (d + 8 bytes per key) are always in memory. Default 2 GiB.
   */
  memoryBytes?: number;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  signal?: AbortSignal;
}

const DEFAULT_MEMORY_BYTES = 2 * 2 ** 30;
const MOST_DEFAULT_THREADS = 8;
/** Floats copied between two turns of the event loop. */
const COPY_FLOATS = 1 << 20;

export class FlatIndex implements VectorIndex {
  readonly kind = 'flat';
  readonly size: number;
  readonly dim: number;
  readonly memoryBytes: number;
  readonly #chunks: readonly Chunk[];
  readonly #pool: WorkerPool | undefined;

  private constructor(chunks: readonly Chunk[], dim: number, pool: WorkerPool | undefined) {
    this.size = chunks.reduce((sum, { layout }) => sum + layout.rows, 0);
    this.memoryBytes = chunks.reduce((sum, { layout }) => sum + layout.bytes, 0);
    this.dim = dim;
    this.#chunks = chunks;
    this.#pool = pool;
  }

  /** Reads and codes the keys. Errors: `INVALID_ARGUMENT`, `IO`, `STORE_CORRUPT`, `ABORTED`. */
  static async open(options: OpenIndexOptions): Promise<FlatIndex> {
    const { sources, dim, memoryBytes = DEFAULT_MEMORY_BYTES, signal } = options;
    const threads = threadsOf(options.threads);
    checkDim(dim);
    const dtype = sources[0]?.dtype ?? 'fp16';
    const other = sources.find((source) => source.dtype !== dtype);
    if (other) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Keys of one index must have one dtype, but ${sources[0]!.path} is ${dtype} and ${other.path} is ${other.dtype}. Build the datastore again with one of them.`,
      );
    }
    const n = sources.reduce((sum, { count }) => sum + count, 0);
    const shape: KeyShape = { dim, dtype, resident: true, threads };
    shape.resident = n * bytesPerRow(shape) <= memoryBytes;
    const chunks = allocate(n, shape);
    return FlatIndex.#build({ chunks, dim, threads, sources, signal });
  }

  /** An index over keys in memory, kept as fp32. @param keys (n, d), copied */
  static async fromKeys(
    keys: Float32Array,
    dim: number,
    options: { threads?: number } = {},
  ): Promise<FlatIndex> {
    checkDim(dim);
    if (keys.length % dim !== 0) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Keys must hold a multiple of dim = ${dim} numbers, not ${keys.length}. Pass whole rows.`,
      );
    }
    const threads = threadsOf(options.threads);
    const chunks = allocate(keys.length / dim, { dim, dtype: 'fp32', resident: true, threads });
    for (const chunk of chunks) await copyKeys(keys, chunk);
    return FlatIndex.#build({ chunks, dim, threads, sources: [] });
  }

  static async #build(options: {
    chunks: Chunk[];
    dim: number;
    threads: number;
    sources: readonly KeySource[];
    signal?: AbortSignal;
  }): Promise<FlatIndex> {
    const { chunks, dim, threads, sources, signal } = options;
    if (chunks.length === 0) return new FlatIndex(chunks, dim, undefined);
    const modules = await compileKernels();
    const script = new URL('./search-worker.js', import.meta.url);
    const pool = new WorkerPool(script, threads, (worker) => ({
      worker,
      modules,
      chunks,
      dim,
      sources,
    }));
    try {
      await buildCodes(chunks, dim, pool, signal);
    } catch (error) {
      await pool.close();
      if (!signal?.aborted) throw error;
      throw new KnnLMError('ABORTED', 'Opening the index was stopped.', { cause: error });
    }
    return new FlatIndex(chunks, dim, pool);
  }

  search(queries: Float32Array, options: SearchOptions): Promise<Neighbors> {
    const source: IndexSource = {
      chunks: this.#chunks,
      pool: this.#pool,
      size: this.size,
      dim: this.dim,
    };
    return searchChunks(source, queries, options);
  }

  async distances(queries: Float32Array, { counts, ids }: EntryRows): Promise<Float32Array> {
    const distances = new Float32Array(ids.length);
    await Promise.all(
      this.#chunks.map(async ({ first, layout }, chunk) => {
        const own = rowsWithin({ counts, ids }, first, first + layout.rows);
        if (own.places.length === 0) return;
        const task: MeasureTask = {
          kind: 'measure',
          chunk,
          queries,
          counts: own.counts,
          rows: own.ids,
        };
        const found = await this.#pool!.run<Float32Array>(task);
        for (const [i, place] of own.places.entries()) distances[place] = found[i]!;
      }),
    );
    return distances;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}

function threadsOf(threads = Math.min(availableParallelism(), MOST_DEFAULT_THREADS)): number {
  if (Number.isInteger(threads) && threads >= 1) return threads;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `threads must be an integer of 1 or more, not ${threads}. Leave it out for the default.`,
  );
}

function checkDim(dim: number): void {
  if (Number.isInteger(dim) && dim >= 1 && dim <= 65536) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `dim must be an integer from 1 to 65536, not ${dim}. It is the width of the model's keys.`,
  );
}

function allocate(n: number, shape: KeyShape): Chunk[] {
  if (n >= 2 ** 31) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `An index holds fewer than 2^31 keys, not ${n}. Split the datastore into several.`,
    );
  }
  let first = 0;
  return chunkRows(n, shape).map((rows) => {
    const layout = chunkLayout(rows, shape);
    try {
      const chunk = allocateChunk(first, layout);
      first += rows;
      return chunk;
    } catch (cause) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Not enough memory for ${n} keys of width ${shape.dim}: ${layout.bytes} bytes could not be had. Set a smaller memoryBytes, or free memory.`,
        { cause },
      );
    }
  });
}

async function copyKeys(keys: Float32Array, { memory, layout, first }: Chunk): Promise<void> {
  const target = new Float32Array(memory.buffer, layout.keys, layout.rows * layout.dim);
  const source = keys.subarray(first * layout.dim, first * layout.dim + target.length);
  for (let done = 0; done < source.length; done += COPY_FLOATS) {
    target.set(source.subarray(done, done + COPY_FLOATS), done);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
