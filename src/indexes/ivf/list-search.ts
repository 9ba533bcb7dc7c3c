/**
 * A worker's share of an inverted file: finds the lists nearest to each query, scans those it has, and keeps the nearest
 * rows. Lists are ordered by the squared distance of the centroid plus a share of the list's spread (the mean squared
 * distance of its rows from the centroid): the two together are the mean distance of its rows.
 */
import { KnnLMError } from '../../errors.ts';
import { type FlatRanges, includesId } from '../id-ranges.ts';
import type { IntegerProduct } from '../integer-product.ts';
import { encodeQuery, type QueryCode } from '../query-code.ts';
import {
  BATCH_QUERIES,
  BLOCK_ROWS,
  CONTROL,
  candidateRoom,
  MOST_PAIRS,
  MOST_QUERIES,
  type ProbeTask,
  type RankedRows,
} from './ivf-task.ts';
import type { ListCache } from './list-cache.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';
import { listLayout, roundUp, type TableLayout } from './lists-file.ts';
import type { OpenTable } from './open-table.ts';
import type { ProductLists } from './product-lists.ts';

/** Integers of a query: two digits of base 2^SHIFT, both within the 7 bits that are exact on every processor. */
const SHIFT = 7;
export const RANGE = { most: 63 * 2 ** SHIFT, mostSum: (2 ** 31 - 1) / 255 };
/** From this many queries of one list on, a matrix product beats one scan per query (bench/search/ivf.js). */
const PRODUCT_QUERIES = 6;
/** Bytes of products: half of a core's second-level cache. */
const DOTS_BYTES = 2 ** 19;
/** Fewer pairs than a digit has values. */
const RADIX_PAIRS = 256;
/** Most queries of one product. */
const MOST_LANES = 64;

/** Addresses of rows to scan. */
interface Rows {
  codes: number;
  scales: number;
  biases: number;
  ids: number;
  count: number;
}

/** Addresses of the room for found rows. */
interface Room {
  /** (q, capacity) pairs */
  pairs: number;
  capacity: number;
  /** (q) u32 */
  counts: number;
}

export type SearchLayout = ReturnType<typeof searchLayout>;

/** Reserves addresses, before the memory itself is there. */
export function searchLayout(layout: Layout, { padded, lists }: TableLayout) {
  const column = roundUp(lists, 4) * 4;
  return {
    query16: layout.take(padded * 2),
    columns: layout.take(padded * 2 * MOST_QUERIES),
    matrix: layout.take(padded * 2 * MOST_LANES),
    picks: layout.take(MOST_LANES * 4),
    constants: layout.take(MOST_LANES * 20),
    dots: layout.take(DOTS_BYTES),
    counts: layout.take(MOST_QUERIES * 4),
    digits: layout.take(2048 * 4),
    pairs: layout.take(Math.max(MOST_PAIRS * 8, column * 2 * MOST_LANES)),
    scratch: layout.take(Math.max(MOST_PAIRS * 4, column * 2)),
    table: {
      scales: layout.take(column),
      biases: layout.take(column),
      ids: layout.take(column),
      codes: layout.take((column / 4) * padded),
      count: lists,
    },
  };
}

export interface ListSearchOptions {
  memory: KernelMemory;
  at: SearchLayout;
  table: OpenTable;
  cache: ListCache;
  /** Undefined where onnxruntime is missing: the kernels then do all the work, with the same result. */
  product: IntegerProduct | undefined;
  /** Where rows are product codes; centroids never are. */
  productLists: ProductLists | undefined;
  /** Lists that this worker has. */
  has: (list: number) => boolean;
}

export class ListSearch {
  readonly #o: ListSearchOptions;
  #weight = Number.NaN;
  #codes: QueryCode[] = [];
  #limits = new Float32Array(0);

  constructor(options: ListSearchOptions) {
    this.#o = options;
    const { memory, at, table } = options;
    const { scales, biases, codes, rows } = table.layout;
    memory.u8.set(table.bytes.subarray(scales, biases), at.table.scales);
    memory.u8.set(table.bytes.subarray(codes, rows), at.table.codes);
    for (let l = 0; l < at.table.count; l++) memory.u32[at.table.ids / 4 + l] = l;
  }

  async run(task: ProbeTask): Promise<RankedRows> {
    const { memory, at, table } = this.#o;
    const { dim } = table.space;
    const q = task.queries.length / dim;
    this.#codes = Array.from({ length: q }, (_, i) =>
      encodeQuery(task.queries.subarray(i * dim, (i + 1) * dim), table.space, RANGE),
    );
    const norms = this.#codes.map(({ norm }) => norm);
    this.#o.productLists?.begin(task.queries, norms);
    if (q >= PRODUCT_QUERIES) this.#fillColumns();
    this.#setWeight(task.spreadWeight);
    const wanted = await this.#chooseLists(task.probes);
    const capacity = candidateRoom(task.depth);
    const room: Room = { pairs: at.pairs, capacity, counts: at.counts };
    memory.u32.fill(0, room.counts / 4, room.counts / 4 + q);
    this.#limits = new Float32Array(q).fill(Number.POSITIVE_INFINITY);
    for (const [list, queries] of wanted) {
      if (Atomics.load(task.control, CONTROL.cancel) !== 0) {
        throw new KnnLMError('ABORTED', 'The search was stopped.');
      }
      if (this.#o.productLists) this.#scanProductCodes(list, queries, room, task);
      else await this.#scanList(list, queries, room, task);
      Atomics.add(task.control, CONTROL.scanned, queries.length);
    }
    return this.#rank(q, room, task);
  }

  /** The lists that this worker has to scan, each with the queries that want it. */
  async #chooseLists(probes: number): Promise<Map<number, number[]>> {
    const { memory, at, has } = this.#o;
    const { kernels, u32 } = memory;
    const wanted = new Map<number, number[]>();
    const lists = at.table.count;
    const room: Room = { pairs: at.pairs, capacity: lists, counts: at.counts };
    for (let first = 0; first < this.#codes.length; first += MOST_LANES) {
      const count = Math.min(MOST_LANES, this.#codes.length - first);
      const queries = Array.from({ length: count }, (_, i) => first + i);
      u32.fill(0, room.counts / 4, room.counts / 4 + count);
      this.#limits = new Float32Array(this.#codes.length).fill(Number.POSITIVE_INFINITY);
      for (let row = 0; row < lists; row += BLOCK_ROWS) {
        const rows = this.#block({ ...at.table, count: lists }, row);
        await this.#scan(rows, queries, room, first);
      }
      for (let i = 0; i < count; i++) {
        const pairs = room.pairs + i * lists * 8;
        if (probes < lists) kernels.keepNearest(pairs, lists, probes);
        for (const list of this.#nearestFirst(pairs, Math.min(probes, lists))) {
          if (!has(list)) continue;
          const others = wanted.get(list);
          if (others) others.push(first + i);
          else wanted.set(list, [first + i]);
        }
      }
    }
    return this.#codes.length < BATCH_QUERIES ? wanted : this.#asTheyLie(wanted);
  }

  /** First what is in memory, before other lists take its place; then the rest from the file's start to its end. */
  #asTheyLie(wanted: Map<number, number[]>): Map<number, number[]> {
    const { cache } = this.#o;
    const lists = [...wanted].sort(([a], [b]) => a - b);
    return new Map([
      ...lists.filter(([list]) => cache.has(list)),
      ...lists.filter(([list]) => !cache.has(list)),
    ]);
  }

  /** Ids of sorted pairs. */
  #nearestFirst(pairs: number, count: number): number[] {
    this.#sort(pairs, count);
    const words = this.#o.memory.u32.subarray(pairs / 4, pairs / 4 + 2 * count);
    return Array.from({ length: count }, (_, i) => words[2 * i]!);
  }

  /** Many pairs by radix; few are sooner sorted by the runtime. */
  #sort(pairs: number, count: number): void {
    const { memory, at } = this.#o;
    if (count > RADIX_PAIRS) memory.kernels.sortPairs(pairs, count, at.scratch, at.digits);
    else new BigUint64Array(memory.buffer, pairs, count).sort();
  }

  async #scanList(list: number, queries: number[], room: Room, task: ProbeTask): Promise<void> {
    const { table, cache } = this.#o;
    const address = cache.get(list);
    const count = table.rows[list]!;
    const { codes, scales, biases, ids } = listLayout(count, table.layout.padded);
    const rows: Rows = {
      codes: address + codes,
      scales: address + scales,
      biases: address + biases,
      ids: address + ids,
      count,
    };
    for (let row = 0; row < count; row += BLOCK_ROWS) {
      await this.#scan(this.#block(rows, row), queries, room, 0);
      for (const query of queries) this.#makeRoom(query, room, task);
    }
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
        const more = productLists!.collect(block, query, this.#limits[query]!, out);
        memory.u32[room.counts / 4 + query] = found + more;
        this.#makeRoom(query, room, task);
      }
    }
  }

  /** For the rows of one more block. */
  #makeRoom(query: number, room: Room, task: ProbeTask): void {
    const found = this.#o.memory.u32[room.counts / 4 + query]!;
    if (found > room.capacity - BLOCK_ROWS) this.#keepNearest(query, room, task);
  }

  #block({ codes, scales, biases, ids, count }: Rows, row: number): Rows {
    return {
      codes: codes + row * this.#o.table.layout.padded,
      scales: scales + row * 4,
      biases: biases + row * 4,
      ids: ids + row * 4,
      count: Math.min(BLOCK_ROWS, count - row),
    };
  }

  /** Adds the rows within the queries' limits to their room; query number `query` has the slot `query - firstSlot`. */
  async #scan(rows: Rows, queries: number[], room: Room, firstSlot: number): Promise<void> {
    if (this.#o.product && queries.length >= PRODUCT_QUERIES) {
      for (let lane = 0; lane < queries.length; lane += MOST_LANES) {
        await this.#scanProduct(rows, queries.slice(lane, lane + MOST_LANES), room, firstSlot);
      }
      return;
    }
    const { memory, at, table } = this.#o;
    const { kernels, u32, i16 } = memory;
    for (const query of queries) {
      const { integers, correction, step, norm } = this.#codes[query]!;
      const slot = query - firstSlot;
      const found = u32[room.counts / 4 + slot]!;
      i16.set(integers, at.query16 / 2);
      u32[room.counts / 4 + slot]! += kernels.collect(
        rows.codes,
        rows.scales,
        rows.biases,
        rows.ids,
        rows.count,
        table.layout.padded,
        at.query16,
        correction,
        2 * step,
        norm,
        this.#limits[query]!,
        room.pairs + (slot * room.capacity + found) * 8,
      );
    }
  }

  async #scanProduct(rows: Rows, queries: number[], room: Room, firstSlot: number): Promise<void> {
    const { memory, at, table, product } = this.#o;
    const { kernels, buffer } = memory;
    const { padded } = table.layout;
    const lanes = roundUp(queries.length, 4);
    this.#fillConstants(queries, lanes, firstSlot);
    const all = roundUp(this.#codes.length, 4);
    kernels.gatherColumns(at.columns, padded, 2 * all, at.picks, lanes, all, at.matrix);
    const b = new Int8Array(buffer, at.matrix, padded * 2 * lanes);
    const most = Math.floor(DOTS_BYTES / (8 * lanes));
    for (let row = 0; row < rows.count; row += most) {
      const count = Math.min(most, rows.count - row);
      await product!.multiply({
        a: new Uint8Array(buffer, rows.codes + row * padded, count * padded),
        b,
        out: new Int32Array(buffer, at.dots, count * 2 * lanes),
        rows: count,
        d: padded,
        columns: 2 * lanes,
      });
      kernels.collectProducts(
        at.dots,
        lanes,
        SHIFT,
        rows.scales + row * 4,
        rows.biases + row * 4,
        rows.ids + row * 4,
        count,
        at.constants,
        room.pairs,
        room.capacity,
        room.counts,
      );
    }
  }

  /** What the products of some queries mean; lanes that only fill up find nothing. */
  #fillConstants(queries: number[], lanes: number, firstSlot: number): void {
    const { memory, at } = this.#o;
    const { f32, i32, u32 } = memory;
    const start = at.constants / 4;
    f32.fill(-1, start + 2 * lanes, start + 3 * lanes);
    u32.fill(0, at.picks / 4, at.picks / 4 + lanes);
    for (const [lane, query] of queries.entries()) {
      const { step, norm, correction } = this.#codes[query]!;
      f32[start + lane] = 2 * step;
      f32[start + lanes + lane] = norm;
      f32[start + 2 * lanes + lane] = this.#limits[query]!;
      i32[start + 3 * lanes + lane] = correction;
      u32[start + 4 * lanes + lane] = query - firstSlot;
      u32[at.picks / 4 + lane] = query;
    }
  }

  /** Leaves out what is excluded and keeps the nearest; from then on only nearer rows are of interest. */
  #keepNearest(query: number, room: Room, task: ProbeTask): void {
    const { kernels, u32 } = this.#o.memory;
    const pairs = room.pairs + query * room.capacity * 8;
    let count = this.#leaveOut(pairs, u32[room.counts / 4 + query]!, task.exclude);
    const own = task.excludePerQuery?.[query];
    if (own) count = this.#leaveOut(pairs, count, own);
    if (count >= task.depth) {
      this.#limits[query] = kernels.keepNearest(pairs, count, task.depth);
      count = task.depth;
    }
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
      this.#sort(from, count);
      pairs.set(u32.subarray(from / 4, from / 4 + 2 * count), end);
      end += 2 * count;
    }
    return { counts: counts.slice(), pairs };
  }

  /** (padded, 2 · q rounded up to 4) the queries' high digits, then their low ones. */
  #fillColumns(): void {
    const { memory, at, table } = this.#o;
    const all = roundUp(this.#codes.length, 4);
    const half = 2 ** SHIFT / 2;
    const columns = memory.i8.subarray(at.columns, at.columns + table.layout.padded * 2 * all);
    columns.fill(0);
    for (const [q, { integers }] of this.#codes.entries()) {
      for (let j = 0; j < integers.length; j++) {
        const high = (integers[j]! + half) >> SHIFT;
        columns[j * 2 * all + q] = high;
        columns[j * 2 * all + all + q] = integers[j]! - (high << SHIFT);
      }
    }
  }

  /** A list's spread is of no query: it goes into the bias of its centroid. */
  #setWeight(weight: number): void {
    if (weight === this.#weight) return;
    this.#weight = weight;
    const { memory, at, table } = this.#o;
    const { buffer } = table.bytes;
    const count = roundUp(table.layout.lists, 4);
    const biases = new Float32Array(buffer, table.layout.biases, count);
    const spreads = new Float32Array(buffer, table.layout.spreads, count);
    memory.f32.set(
      biases.map((bias, l) => bias + weight * spreads[l]!),
      at.table.biases / 4,
    );
  }
}
