/**
 * Lists of product codes as a search scans them. Each query is rotated once, and its products with all words are its
 * tables: a row's distance is then its bias and M look-ups (Jégou et al. 2011, § 3.2, asymmetric distances). The same bits
 * come out for one query and for many.
 */
import { MOST_QUERIES } from './ivf-task.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';
import { roundUp } from './lists-file.ts';
import type { OpenTable } from './open-table.ts';
import { type ProductListLayout, productListLayout } from './product-list.ts';

export type ProductAddresses = ReturnType<typeof productAddresses>;

/** Reserves addresses; a codec's table must be there. */
export function productAddresses(layout: Layout, { layout: table, rows }: OpenTable) {
  const { padded } = table;
  const { width, words, codec } = table.product!;
  const largest = rows.reduce((most, count) => Math.max(most, count), 1);
  const floats = codec.subquantizers * words * 4;
  // Of 4-bit codes the tables are narrowed to 16 bits.
  const tableBytes = codec.bits === 8 ? floats : codec.subquantizers * words * 2;
  return {
    scale: layout.take(padded * 4),
    nothing: layout.take(padded * 4),
    center: layout.take(padded * 4),
    centerCode: layout.take(padded),
    centerScale: layout.take(4),
    rotation: layout.take(width * padded * 4),
    books: layout.take(width * words * 4),
    queries: layout.take(MOST_QUERIES * padded * 4),
    rotated: layout.take(width * 4),
    tables: layout.take(MOST_QUERIES * tableBytes),
    tableBytes,
    wide: layout.take(floats),
    narrowed: layout.take(MOST_QUERIES * 8),
    ids: layout.take(roundUp(largest, 4) * 4),
  };
}

export class ProductLists {
  readonly #memory: KernelMemory;
  readonly #at: ProductAddresses;
  readonly #table: OpenTable;
  /** Squared norms of the queries, in z. */
  #norms: readonly number[] = [];
  /** The list that was entered last. */
  #list: ProductListLayout & { centerNorm: number };

  constructor(memory: KernelMemory, at: ProductAddresses, table: OpenTable) {
    this.#memory = memory;
    this.#at = at;
    this.#table = table;
    this.#list = { ...productListLayout(0, table.layout.product!.codec), centerNorm: 0 };
    const { rotation, books, end } = table.layout.product!;
    memory.f32.set(table.space.scale, at.scale / 4);
    memory.u8.set(table.bytes.subarray(rotation, books), at.rotation);
    memory.u8.set(table.bytes.subarray(books, end), at.books);
  }

  /** @param queries (q, d); @param norms (q) ‖z(query)‖² */
  begin(queries: Float32Array, norms: readonly number[]): void {
    const { f32, kernels } = this.#memory;
    const { dim, mean, unit } = this.#table.space;
    const { padded, product } = this.#table.layout;
    const { width, part, words, codec } = product!;
    const at = this.#at;
    this.#norms = norms;
    for (let q = 0; q < norms.length; q++) {
      const z = at.queries + q * padded * 4;
      for (let j = 0; j < dim; j++) f32[z / 4 + j] = (queries[q * dim + j]! - mean[j]!) / unit;
      kernels.rotate(at.rotation, width, padded, z, 1, at.rotated);
      const tables = at.tables + q * at.tableBytes;
      const m = codec.subquantizers;
      const wide = codec.bits === 8 ? tables : at.wide;
      kernels.productTables(at.rotated, m, part, words, at.books, wide);
      if (codec.bits === 4) kernels.narrowTables(wide, m, tables, at.narrowed + q * 8);
    }
  }

  /** Prepares a list that is in memory at `address`. */
  enter(list: number, address: number): void {
    const { kernels, u8 } = this.#memory;
    const { layout, bytes, rows } = this.#table;
    const { padded, codes, scales } = layout;
    const at = this.#at;
    u8.set(bytes.subarray(codes + list * padded, codes + (list + 1) * padded), at.centerCode);
    u8.set(bytes.subarray(scales + list * 4, scales + list * 4 + 4), at.centerScale);
    kernels.residuals(at.centerCode, at.centerScale, 1, padded, at.scale, at.nothing, at.center);
    const parts = productListLayout(rows[list]!, layout.product!.codec);
    this.#list = {
      least: address + parts.least,
      step: address + parts.step,
      biases: address + parts.biases,
      codes: address + parts.codes,
      gaps: address + parts.gaps,
      centerNorm: kernels.innerProduct(at.center, at.center, padded),
    };
    kernels.decodeGaps(this.#list.gaps, rows[list]!, at.ids);
  }

  /** Entry ids of the entered list. */
  ids(rows: number): Uint32Array {
    return this.#memory.u32.subarray(this.#at.ids / 4, this.#at.ids / 4 + rows);
  }

  /**
   * Pairs of the rows [row, row + count) of the entered list within `limit` of a query, written at `out`.
   * @returns how many
   */
  collect(rows: { row: number; count: number }, query: number, limit: number, out: number): number {
    const { kernels, u8, f32 } = this.#memory;
    const { padded, product } = this.#table.layout;
    const { row, count } = rows;
    const { subquantizers: m, bits } = product!.codec;
    const at = this.#at;
    const list = this.#list;
    const z = at.queries + query * padded * 4;
    const nearness = 2 * kernels.innerProduct(z, at.center, padded);
    // Lists lie without gaps, so their numbers are at any address.
    const view = new DataView(u8.buffer, list.least, 8);
    const base = this.#norms[query]! + list.centerNorm - nearness + view.getFloat32(0, true);
    const biasStep = view.getFloat32(4, true);
    const tables = at.tables + query * at.tableBytes;
    const biases = list.biases + row;
    const ids = at.ids + row * 4;
    if (bits === 8) {
      const codes = list.codes + row * m;
      const collect = kernels.collectProductCodes;
      return collect(codes, biases, ids, count, m, tables, base, biasStep, limit, out);
    }
    // Rows come in whole blocks but for the last.
    const codes = list.codes + (row * m) / 2;
    const offset = f32[at.narrowed / 4 + 2 * query]!;
    const step = f32[at.narrowed / 4 + 2 * query + 1]!;
    return kernels.collectProductBlocks(
      codes,
      biases,
      ids,
      count,
      m,
      tables,
      base - offset,
      biasStep,
      step,
      limit,
      out,
    );
  }
}
