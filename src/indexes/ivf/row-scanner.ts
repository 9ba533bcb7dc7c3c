/**
 * Scans coded rows for many queries: one query after another by a kernel, or from a few queries on by integer matrix products. Both do the
 * same arithmetic and give the same bits.
 */
import type { IntegerProduct } from '../integer-product.ts';
import { encodeQuery, type QueryCode } from '../query-code.ts';
import { BLOCK_ROWS, MOST_PAIRS, MOST_QUERIES } from './ivf-task.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';
import { roundUp, type TableLayout } from './lists-file.ts';
import type { OpenTable } from './open-table.ts';

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
export const MOST_LANES = 64;

/** Addresses of rows to scan. */
export interface Rows {
  codes: number;
  scales: number;
  biases: number;
  ids: number;
  count: number;
}

/** Addresses of the room for found rows. */
export interface Room {
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

export interface RowScannerOptions {
  memory: KernelMemory;
  at: SearchLayout;
  table: OpenTable;
  /** Undefined where onnxruntime is missing: the kernels then do all the work, with the same result. */
  product: IntegerProduct | undefined;
}

export class RowScanner {
  /** (q) */
  codes: QueryCode[] = [];
  /** (q) distances beyond which rows are of no interest, in the code's unit. */
  limits = new Float32Array(0);
  readonly #o: RowScannerOptions;

  constructor(options: RowScannerOptions) {
    this.#o = options;
  }

  /** @param queries (q, d) */
  begin(queries: Float32Array): void {
    const { space } = this.#o.table;
    const q = queries.length / space.dim;
    this.codes = Array.from({ length: q }, (_, i) =>
      encodeQuery(queries.subarray(i * space.dim, (i + 1) * space.dim), space, RANGE),
    );
    this.resetLimits();
    if (q >= PRODUCT_QUERIES) this.#fillColumns();
  }

  resetLimits(): void {
    this.limits = new Float32Array(this.codes.length).fill(Number.POSITIVE_INFINITY);
  }

  block({ codes, scales, biases, ids, count }: Rows, row: number): Rows {
    return {
      codes: codes + row * this.#o.table.layout.padded,
      scales: scales + row * 4,
      biases: biases + row * 4,
      ids: ids + row * 4,
      count: Math.min(BLOCK_ROWS, count - row),
    };
  }

  /** Adds the rows within the queries' limits to their room; query number `query` has the slot `query - firstSlot`. */
  async scan(rows: Rows, queries: number[], room: Room, firstSlot: number): Promise<void> {
    if (this.#o.product && queries.length >= PRODUCT_QUERIES) {
      for (let lane = 0; lane < queries.length; lane += MOST_LANES) {
        await this.#scanProduct(rows, queries.slice(lane, lane + MOST_LANES), room, firstSlot);
      }
      return;
    }
    const { memory, at, table } = this.#o;
    const { kernels, u32, i16 } = memory;
    for (const query of queries) {
      const { integers, correction, step, norm } = this.codes[query]!;
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
        this.limits[query]!,
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
    const all = roundUp(this.codes.length, 4);
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
      const { step, norm, correction } = this.codes[query]!;
      f32[start + lane] = 2 * step;
      f32[start + lanes + lane] = norm;
      f32[start + 2 * lanes + lane] = this.limits[query]!;
      i32[start + 3 * lanes + lane] = correction;
      u32[start + 4 * lanes + lane] = query - firstSlot;
      u32[at.picks / 4 + lane] = query;
    }
  }

  /** (padded, 2 · q rounded up to 4) the queries' high digits, then their low ones. */
  #fillColumns(): void {
    const { memory, at, table } = this.#o;
    const all = roundUp(this.codes.length, 4);
    const half = 2 ** SHIFT / 2;
    const columns = memory.i8.subarray(at.columns, at.columns + table.layout.padded * 2 * all);
    columns.fill(0);
    for (const [q, { integers }] of this.codes.entries()) {
      for (let j = 0; j < integers.length; j++) {
        const high = (integers[j]! + half) >> SHIFT;
        columns[j * 2 * all + q] = high;
        columns[j * 2 * all + all + q] = integers[j]! - (high << SHIFT);
      }
    }
  }
}

/** Many pairs by radix; few are sooner sorted by the runtime. */
export function sortPairs({ memory, at }: RowScannerOptions, pairs: number, count: number): void {
  if (count > RADIX_PAIRS) memory.kernels.sortPairs(pairs, count, at.scratch, at.digits);
  else new BigUint64Array(memory.buffer, pairs, count).sort();
}
