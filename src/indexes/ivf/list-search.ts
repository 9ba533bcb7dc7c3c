/** A worker's share of an inverted file: finds the lists nearest to each query, scans those it has, and keeps the nearest rows. */
import { KnnLMError } from '../../errors.ts';
import { type FlatRanges, includesId } from '../id-ranges.ts';
import {
  BATCH_QUERIES,
  BLOCK_ROWS,
  CONTROL,
  candidateRoom,
  type ProbeTask,
  type RankedRows,
} from './ivf-task.ts';
import type { ListCache } from './list-cache.ts';
import { ListChoice, type Wanted } from './list-choice.ts';
import type { ListSketches } from './list-sketches.ts';
import { listLayout } from './lists-file.ts';
import type { ProductLists } from './product-lists.ts';
import {
  type Room,
  RowScanner,
  type RowScannerOptions,
  type Rows,
  sortPairs,
} from './row-scanner.ts';
import { SharedLimits } from './shared-limits.ts';

/** From so many queries of one list on, products beat sketches. */
const SKETCH_QUERIES = 6;
/** Rows found until the nearest are looked for again. */
const PATIENCE = 512;

export interface ListSearchOptions extends RowScannerOptions {
  cache: ListCache;
  /** Where rows are product codes; centroids never are. */
  productLists: ProductLists | undefined;
  /** Where rows are 8-bit codes wide enough. */
  sketches: ListSketches | undefined;
  worker: number;
  workers: number;
  /** Lists that this worker has. */
  has: (list: number) => boolean;
}

export class ListSearch {
  readonly #o: ListSearchOptions;
  readonly #scanner: RowScanner;
  readonly #choice: ListChoice;
  /** (q) how many found rows it takes to look at them. */
  #full = new Uint32Array(0);
  #shared: SharedLimits | undefined;

  constructor(options: ListSearchOptions) {
    this.#o = options;
    this.#scanner = new RowScanner(options);
    this.#choice = new ListChoice(options, this.#scanner);
  }

  async run(task: ProbeTask): Promise<RankedRows> {
    const { memory, at, table } = this.#o;
    const { dim } = table.space;
    const q = task.queries.length / dim;
    this.#scanner.begin(task.queries);
    const norms = this.#scanner.codes.map(({ norm }) => norm);
    this.#o.productLists?.begin(task.queries, norms);
    this.#o.sketches?.begin(task.queries);
    const wanted = this.#inOrder(
      await this.#choice.choose(task.probes, task.spreadWeight, this.#o.has),
    );
    const capacity = candidateRoom(task.depth);
    const room: Room = { pairs: at.pairs, capacity, counts: at.counts };
    memory.u32.fill(0, room.counts / 4, room.counts / 4 + q);
    this.#scanner.resetLimits();
    this.#shared = new SharedLimits(task.limits, { ...this.#o, depth: task.depth });
    this.#full = new Uint32Array(q).fill(this.#shared.share + PATIENCE);
    for (const [list, wanting] of wanted) {
      if (Atomics.load(task.control, CONTROL.cancel) !== 0) {
        throw new KnnLMError('ABORTED', 'The search was stopped.');
      }
      const { queries } = wanting;
      if (this.#o.productLists) this.#scanProductCodes(list, queries, room, task);
      else if (!(await this.#scanSketches(list, wanting, room, task)))
        await this.#scanList(list, queries, room, task);
      Atomics.add(task.control, CONTROL.scanned, queries.length);
    }
    return this.#rank(q, room, task);
  }

  /**
   * First what is in memory, before other lists take its place, and what is nearest to a query first of all, so that farther rows are
   * soon told to be too far; then, for a batch, the rest from the file's start to its end.
   */
  #inOrder(wanted: Map<number, Wanted>): Map<number, Wanted> {
    const { cache } = this.#o;
    if (this.#scanner.codes.length === 1) return wanted;
    const lists = [...wanted].sort(([, a], [, b]) => a.rank - b.rank);
    if (this.#scanner.codes.length < BATCH_QUERIES) return new Map(lists);
    const others = lists.filter(([list]) => !cache.has(list)).sort(([a], [b]) => a - b);
    return new Map([...lists.filter(([list]) => cache.has(list)), ...others]);
  }

  #rowsOf(list: number, address: number): Rows {
    const { table } = this.#o;
    const count = table.rows[list]!;
    const { codes, scales, biases, ids } = listLayout(count, table.layout.padded);
    return {
      codes: address + codes,
      scales: address + scales,
      biases: address + biases,
      ids: address + ids,
      count,
    };
  }

  async #scanList(list: number, queries: number[], room: Room, task: ProbeTask): Promise<void> {
    const { cache } = this.#o;
    const rows = this.#rowsOf(list, cache.get(list));
    for (let row = 0; row < rows.count; row += BLOCK_ROWS) {
      await this.#scanner.scan(this.#scanner.block(rows, row), queries, room, 0);
      for (const query of queries) this.#makeRoom(query, room, task);
    }
  }

  /** Passes over rows that are too far by their sketches. @returns false where the list has none, or too many queries want it */
  async #scanSketches(list: number, wanted: Wanted, room: Room, task: ProbeTask): Promise<boolean> {
    const { table, cache, sketches, memory, at } = this.#o;
    if (!sketches || wanted.queries.length >= SKETCH_QUERIES) return false;
    const held = cache.take(list);
    if (held.uses === 0) return false;
    const rows = this.#rowsOf(list, held.address);
    if (!held.hasExtra) sketches.make({ number: list, ...rows }, held.extra);
    held.hasExtra = true;
    const { padded } = table.layout;
    const { kernels, u32, i16 } = memory;
    for (const [i, query] of wanted.queries.entries()) {
      const { integers, correction, step, norm } = this.#scanner.codes[query]!;
      i16.set(integers, at.query16 / 2);
      for (let first = 0; first < rows.count; first += BLOCK_ROWS) {
        const count = Math.min(BLOCK_ROWS, rows.count - first);
        const limit = Math.min(this.#scanner.limits[query]!, this.#shared!.of(query));
        if (limit === Number.POSITIVE_INFINITY) {
          await this.#scanner.scan(this.#scanner.block(rows, first), [query], room, 0);
          this.#makeRoom(query, room, task);
          continue;
        }
        const near = sketches.mayBeWithin(limit, query, {
          list,
          address: held.extra,
          first,
          count,
          centerDistance: wanted.centerDistances[i]!,
        });
        const found = u32[room.counts / 4 + query]!;
        u32[room.counts / 4 + query]! += kernels.collectRows(
          rows.codes,
          rows.scales,
          rows.biases,
          rows.ids,
          padded,
          near.found,
          near.count,
          at.query16,
          correction,
          2 * step,
          norm,
          limit,
          room.pairs + (query * room.capacity + found) * 8,
        );
        this.#makeRoom(query, room, task);
      }
    }
    return true;
  }

  #scanProductCodes(list: number, queries: number[], room: Room, task: ProbeTask): void {
    const { table, cache, productLists, memory } = this.#o;
    productLists!.enter(list, cache.get(list));
    const rows = table.rows[list]!;
    for (const query of queries) {
      for (let row = 0; row < rows; row += BLOCK_ROWS) {
        const block = { row, count: Math.min(BLOCK_ROWS, rows - row) };
        const found = memory.u32[room.counts / 4 + query]!;
        const out = room.pairs + (query * room.capacity + found) * 8;
        const more = productLists!.collect(block, query, this.#scanner.limits[query]!, out);
        memory.u32[room.counts / 4 + query] = found + more;
        this.#makeRoom(query, room, task);
      }
    }
  }

  /** For the rows of one more block. */
  #makeRoom(query: number, room: Room, task: ProbeTask): void {
    const found = this.#o.memory.u32[room.counts / 4 + query]!;
    if (found >= Math.min(this.#full[query]!, room.capacity - BLOCK_ROWS))
      this.#keepNearest(query, room, task);
  }

  /** Leaves out what is excluded and keeps the nearest; from then on only nearer rows are of interest. */
  #keepNearest(query: number, room: Room, task: ProbeTask): void {
    const { kernels, u32 } = this.#o.memory;
    const pairs = room.pairs + query * room.capacity * 8;
    let count = this.#leaveOut(pairs, u32[room.counts / 4 + query]!, task.exclude);
    const own = task.excludePerQuery?.[query];
    if (own) count = this.#leaveOut(pairs, count, own);
    const shared = this.#shared!;
    let limit = this.#scanner.limits[query]!;
    if (count >= task.depth) {
      limit = Math.min(limit, kernels.keepNearest(pairs, count, task.depth));
      count = task.depth;
    }
    if (count >= shared.share) shared.tell(query, kernels.keepNearest(pairs, count, shared.share));
    this.#scanner.limits[query] = Math.min(limit, shared.of(query));
    this.#full[query] = count + PATIENCE;
    u32[room.counts / 4 + query] = count;
  }

  #leaveOut(pairs: number, count: number, excluded: FlatRanges): number {
    if (excluded.length === 0) return count;
    const words = this.#o.memory.u32;
    let kept = pairs / 4;
    for (let at = pairs / 4; at < pairs / 4 + 2 * count; at += 2) {
      if (includesId(excluded, words[at]!)) continue;
      words[kept++] = words[at]!;
      words[kept++] = words[at + 1]!;
    }
    return (kept - pairs / 4) / 2;
  }

  #rank(q: number, room: Room, task: ProbeTask): RankedRows {
    const { u32 } = this.#o.memory;
    const counts = u32.subarray(room.counts / 4, room.counts / 4 + q);
    for (let query = 0; query < q; query++) this.#keepNearest(query, room, task);
    const pairs = new Uint32Array(2 * counts.reduce((sum, count) => sum + count, 0));
    let end = 0;
    for (const [query, count] of counts.entries()) {
      const from = room.pairs + query * room.capacity * 8;
      sortPairs(this.#o, from, count);
      pairs.set(u32.subarray(from / 4, from / 4 + 2 * count), end);
      end += 2 * count;
    }
    return { counts: counts.slice(), pairs };
  }
}
