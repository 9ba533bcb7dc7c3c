/**
 * Approximate search over keys on disk: each query reads a few lists of 8-bit codes (`build-ivf.ts`). Lists are dealt out to
 * worker threads, so that every query uses all of them, nothing is held twice and nothing is locked; each worker keeps in
 * memory as many of its lists as it may. Distances come from the codes, or from the stored keys with `rerank`.
 */
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../../errors.ts';
import { Breather } from '../../math/breather.ts';
import type { KeySource } from '../../math/vectors.ts';
import { countIds, type FlatRanges, flattenRanges } from '../id-ranges.ts';
import { checkFinite, checkSearch } from '../search-chunks.ts';
import type { EntryRows, Neighbors, SearchOptions, VectorIndex } from '../vector-index.ts';
import { WorkerPool } from '../worker-pool.ts';
import { corruptIndex, type IvfHeader, type IvfSettings, readHeader } from './ivf-header.ts';
import {
  BATCH_QUERIES,
  CONTROL,
  candidateRoom,
  type ListWorkerStart,
  type MeasureTask,
  MOST_PAIRS,
  MOST_QUERIES,
  newControl,
  type ProbeTask,
  type RankedRows,
  type ReadyResult,
  type RerankTask,
} from './ivf-task.ts';
import { compileListKernels } from './list-kernels.ts';
import { mergeRanked } from './merge-ranked.ts';
import { newLimits } from './shared-limits.ts';

export interface OpenIvfOptions {
  /** Folder of the index files. */
  folder: string;
  /** The keys that were indexed, for exact distances; none where they were dropped. */
  sources: readonly KeySource[];
  /** Bytes of lists held in memory, all workers together. Default 2 GiB. */
  memoryBytes?: number;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  /** The folder's header, when it was read already. */
  header?: IvfHeader;
}

/** Settings of one search, instead of the index's own. */
export interface IvfSearchOptions extends SearchOptions, Partial<IvfSettings> {
  /** Told now and then, and at the end, which shares of the lists were scanned and of the keys compared, from 0 to 1. */
  onShare?: (scanned: number, compared: number) => void;
}

const DEFAULT_MEMORY_BYTES = 2 * 2 ** 30;
/** Entries that one worker compares for all queries of a batch before the next entries are another's: some megabytes of keys. */
const SHARE_ENTRIES = 4096;
const TELL_MS = 500;
/** Tiles of queries that workers have at once: one to work on, one to go on with. */
const TILES_AHEAD = 2;

interface Tile {
  first: number;
  queries: Float32Array;
  k: number;
  settings: IvfSettings;
  exclude: FlatRanges;
  excludePerQuery: FlatRanges[] | undefined;
  control: Int32Array;
  result: Neighbors;
}

export class IvfIndex implements VectorIndex {
  readonly kind = 'ivf';
  readonly size: number;
  readonly dim: number;
  readonly memoryBytes: number;
  readonly header: IvfHeader;
  /** Used where a search names no others. */
  settings: IvfSettings;
  /** Whether there are keys to compare exactly. */
  readonly hasKeys: boolean;
  /** One worker each. */
  readonly #pools: readonly WorkerPool[];
  #turn = 0;

  private constructor(
    { header, sources }: { header: IvfHeader; sources: readonly KeySource[] },
    pools: readonly WorkerPool[],
    memoryBytes: number,
  ) {
    this.hasKeys = sources.length > 0;
    this.size = header.entries;
    this.dim = header.dim;
    this.header = header;
    this.settings = header.settings;
    this.memoryBytes = memoryBytes;
    this.#pools = pools;
  }

  /** Errors: `STORE_CORRUPT`, `STORE_VERSION`, `IO`, `INVALID_ARGUMENT`. */
  static async open(options: OpenIvfOptions): Promise<IvfIndex> {
    const { folder, sources, memoryBytes = DEFAULT_MEMORY_BYTES } = options;
    const threads = options.threads ?? Math.min(8, availableParallelism());
    checkMachine(threads, memoryBytes);
    const header = options.header ?? (await readHeader(folder));
    if (!header) throw corruptIndex(`The folder ${folder} holds no index`);
    const module = await compileListKernels();
    const script = new URL('./ivf-worker.js', import.meta.url);
    const pools = Array.from({ length: threads }, (_, worker) => {
      const start: ListWorkerStart = {
        module,
        worker,
        workers: threads,
        path: join(folder, header.file.name),
        header,
        sources,
        cacheBytes: Math.floor(memoryBytes / threads),
      };
      return new WorkerPool(script, 1, () => start);
    });
    try {
      const turns = await Promise.allSettled(
        pools.map((pool) => pool.run<ReadyResult>({ kind: 'ready' })),
      );
      // All have answered: a worker that is ended while it loads onnxruntime takes the process with it.
      let bytes = 0;
      for (const turn of turns) {
        if (turn.status === 'rejected') throw turn.reason;
        bytes += turn.value.memoryBytes;
      }
      return new IvfIndex({ header, sources }, pools, bytes);
    } catch (error) {
      await Promise.all(pools.map((pool) => pool.close()));
      throw error;
    }
  }

  async search(queries: Float32Array, options: IvfSearchOptions): Promise<Neighbors> {
    const q = checkSearch(this, queries, options);
    const asked = checkSettings({
      probes: options.probes ?? this.#probesAt(options.effort),
      rerank: options.rerank ?? this.settings.rerank,
      spreadWeight: options.spreadWeight ?? this.settings.spreadWeight,
    });
    if (asked.rerank > 0 && !this.hasKeys) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `rerank is ${asked.rerank}, but keys were dropped: there is nothing to compare exactly. Leave it at 0.`,
      );
    }
    checkFinite(queries);
    const { k, signal } = options;
    const result: Neighbors = {
      k,
      ids: new Int32Array(q * k).fill(-1),
      distances: new Float32Array(q * k).fill(Number.POSITIVE_INFINITY),
    };
    const control = newControl();
    const exclude = flattenRanges(options.exclude ?? [], this.size, true);
    const settings = { ...asked, probes: this.#probesFor(asked.probes, exclude) };
    const own = options.excludePerQuery?.map((ranges) => flattenRanges(ranges, this.size));
    const size = this.#tileSize(k, settings);
    const stop = () => Atomics.store(control, CONTROL.cancel, 1);
    signal?.addEventListener('abort', stop, { once: true });
    const tell = () =>
      options.onShare?.(
        Atomics.load(control, CONTROL.scanned) / (q * settings.probes),
        Atomics.load(control, CONTROL.compared) / (q * this.#depth(k, settings)),
      );
    const telling = options.onShare && setInterval(tell, TELL_MS);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < q) {
        const first = next;
        next = Math.min(q, first + size);
        await this.#searchTile({
          first,
          queries: queries.slice(first * this.dim, next * this.dim),
          k,
          settings,
          exclude,
          excludePerQuery: own?.slice(first, next),
          control,
          result,
        });
      }
    };
    try {
      await Promise.all(Array.from({ length: TILES_AHEAD }, work));
      options.onShare?.(1, 1);
    } catch (error) {
      stop(); // the other tiles' work is of no use
      throw error;
    } finally {
      clearInterval(telling);
      signal?.removeEventListener('abort', stop);
    }
    return result;
  }

  async distances(queries: Float32Array, rows: EntryRows): Promise<Float32Array> {
    const task: MeasureTask = { kind: 'measure', queries, ...rows };
    const measure = (pool: WorkerPool) => pool.run<Float32Array>(task);
    // Any worker can read the keys; a code is in the lists of one of them.
    if (this.hasKeys) return await measure(this.#pools[this.#turn++ % this.#pools.length]!);
    const [distances, ...others] = await Promise.all(this.#pools.map(measure));
    for (const part of others)
      for (const [i, distance] of part.entries())
        distances![i] = Math.min(distances![i]!, distance);
    return distances!;
  }

  async close(): Promise<void> {
    await Promise.all(this.#pools.map((pool) => pool.close()));
  }

  /** Lists that are usually read, or a share of them. */
  #probesAt(effort = 1): number {
    const lists = Math.round(this.settings.probes * effort);
    return Math.max(1, Math.min(this.header.lists, lists));
  }

  /** The fewer entries may be found, the more lists are read: all of them in the end, so that none is missed for being alone. */
  #probesFor(probes: number, exclude: FlatRanges): number {
    const left = Math.max(1, this.size - countIds(exclude));
    return Math.min(this.header.lists, Math.round((probes * this.size) / left));
  }

  #depth(k: number, { rerank }: IvfSettings): number {
    return Math.min(this.size, Math.ceil(k * Math.max(1, rerank)));
  }

  #tileSize(k: number, settings: IvfSettings): number {
    const room = candidateRoom(this.#depth(k, settings));
    const size = Math.min(MOST_QUERIES, Math.floor(MOST_PAIRS / room));
    if (size > 0) return size;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `k = ${k} is more than this index can rank; ${MOST_PAIRS >> 2} is the most. Ask for fewer neighbors.`,
    );
  }

  async #searchTile(tile: Tile): Promise<void> {
    const { queries, k, settings, exclude, excludePerQuery, control } = tile;
    const depth = this.#depth(k, settings);
    const { probes, spreadWeight, rerank } = settings;
    const task: ProbeTask = {
      kind: 'probe',
      queries,
      depth,
      probes,
      spreadWeight,
      exclude,
      excludePerQuery,
      control,
      limits: newLimits(queries.length / this.dim, this.#pools.length),
    };
    const found = await Promise.all(this.#pools.map((pool) => pool.run<RankedRows>(task)));
    if (rerank > 0) await this.#rerank(tile, found, depth);
    else await this.#deliver(tile, found, this.header.unit ** 2);
  }

  /** Compares the best of all workers exactly, each worker a share of every query's; of a batch's, its share of the files. */
  async #rerank(tile: Tile, found: RankedRows[], depth: number): Promise<void> {
    const q = tile.queries.length / this.dim;
    const workers = this.#pools.length;
    const isBatch = q >= BATCH_QUERIES;
    const share = isBatch ? depth : Math.ceil(depth / workers);
    const tasks = this.#pools.map(
      (): RerankTask => ({
        kind: 'rerank',
        queries: tile.queries,
        counts: new Uint32Array(q),
        ids: new Uint32Array(q * share),
        control: tile.control,
      }),
    );
    const ends = new Uint32Array(workers);
    const starts = new Uint32Array(found.length);
    const breather = new Breather();
    for (let query = 0; query < q; query++) {
      mergeRanked(found, starts, query, depth, (place, id) => {
        const worker = (isBatch ? Math.floor(id / SHARE_ENTRIES) : place) % workers;
        tasks[worker]!.ids[ends[worker]!++] = id;
        tasks[worker]!.counts[query]!++;
      });
      await breather.pause();
    }
    const ranked = await Promise.all(
      this.#pools.map((pool, w) =>
        pool.run<RankedRows>({ ...tasks[w]!, ids: tasks[w]!.ids.slice(0, ends[w]) }),
      ),
    );
    await this.#deliver(tile, ranked, 1);
  }

  /** Writes the nearest of all workers into the result. */
  async #deliver(tile: Tile, found: RankedRows[], unit2: number): Promise<void> {
    const { k, first, result, queries } = tile;
    const bits = new Uint32Array(1);
    const distance = new Float32Array(bits.buffer);
    const starts = new Uint32Array(found.length);
    const breather = new Breather();
    for (let query = 0; query < queries.length / this.dim; query++) {
      const row = (first + query) * k;
      mergeRanked(found, starts, query, k, (place, id, distanceBits) => {
        bits[0] = distanceBits;
        result.ids[row + place] = id;
        result.distances[row + place] = distance[0]! * unit2;
      });
      await breather.pause();
    }
  }
}

function checkMachine(threads: number, memoryBytes: number): void {
  if (!(Number.isInteger(threads) && threads >= 1)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `threads must be an integer of 1 or more, not ${threads}. Leave it out for the default.`,
    );
  }
  if (!(memoryBytes >= 0)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `memoryBytes must be 0 or more, not ${memoryBytes}. Leave it out for 2 GiB.`,
    );
  }
}

function checkSettings(settings: IvfSettings): IvfSettings {
  const { probes, rerank, spreadWeight } = settings;
  const refuse = (message: string) => new KnnLMError('INVALID_ARGUMENT', message);
  if (!Number.isInteger(probes) || probes < 1) {
    throw refuse(`probes must be an integer of 1 or more, not ${probes}. Try 64.`);
  }
  if (!(rerank === 0 || (rerank >= 1 && rerank <= 1024))) {
    throw refuse(`rerank must be 0 or a number from 1 to 1024, not ${rerank}. Try 1.25.`);
  }
  if (!(spreadWeight >= 0 && spreadWeight <= 2)) {
    throw refuse(`spreadWeight must be a number from 0 to 2, not ${spreadWeight}. Try 0.5.`);
  }
  return settings;
}
