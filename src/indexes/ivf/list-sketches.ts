/**
 * Sketches of lists in memory: a bit per dimension of each row, by which most rows are told to be too far without reading
 * their codes (`kernels/lib/sketch.ts`). They are made of the codes when a list is wanted for the second time, and never stored.
 * A row is passed over when its sketch says so with `DEVIATIONS` standard deviations to spare: of 10⁵ neighbors fewer
 * than one is missed (`bench/search/sketches.js`). A sketch takes an eighth of the room of its row's code, and a search that
 * is bound by memory so much less time.
 */

import { Random } from '../../math/random.ts';
import { MOST_QUERIES } from './ivf-task.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';
import { roundUp } from './lists-file.ts';
import type { OpenTable } from './open-table.ts';

const DEVIATIONS = 3.5;
/** Below this width sketches are too coarse, and codes too short for them to pay; beyond the most their sums overflow 16 bits. */
const WIDTHS = { least: 128, most: 2048 };
/** Dimensions that are turned together at least, so that none dominates. */
const LEAST_BLOCK = 64;
/** Rows of a block of the kernels. */
const BLOCK = 16;

/** Dimensions that are turned together: the largest power of two that divides the width. Undefined where there are no sketches. */
export function sketchBlock(padded: number): number | undefined {
  const block = padded & -padded;
  const fits = padded >= WIDTHS.least && padded <= WIDTHS.most && block >= LEAST_BLOCK;
  return fits ? block : undefined;
}

interface Parts {
  /** Byte offsets of f32 1 - γ² at most, (r') f32 offsets, (r') f32 slopes, (r', p / 8) u8 bits; r' rows to the next multiple of 16. */
  offsets: number;
  slopes: number;
  bits: number;
  bytes: number;
}

function sketchLayout(rows: number, padded: number): Parts {
  const filled = roundUp(rows, BLOCK);
  const offsets = BLOCK;
  const slopes = offsets + filled * 4;
  const bits = slopes + filled * 4;
  return { offsets, slopes, bits, bytes: bits + (filled * padded) / 8 };
}

/** Bytes that a list's sketches take beside it in memory. */
export function sketchBytes(rows: number, padded: number): number {
  return sketchBlock(padded) === undefined ? 0 : roundUp(sketchLayout(rows, padded).bytes, 64);
}

export type SketchAddresses = ReturnType<typeof sketchAddresses>;

/** Reserves addresses. @param rows at most of a block that is looked through at once */
export function sketchAddresses(layout: Layout, padded: number, rows: number) {
  return {
    signs: layout.take(padded * 4),
    scale: layout.take(padded * 4),
    nothing: layout.take(padded * 4),
    center: layout.take(padded * 4),
    turned: layout.take(padded * 4),
    work: layout.take(padded * 4),
    centerCode: layout.take(padded),
    centerScale: layout.take(4),
    tables: layout.take(MOST_QUERIES * padded * 4),
    constants: layout.take(MOST_QUERIES * 8),
    /** (rows) u32 numbers of those that may be near; room for three more. */
    found: layout.take(rows * 4 + 16),
  };
}

/** The rows of a list that are looked at, and how far its centroid is. */
export interface SketchedRows {
  list: number;
  /** Address of the list's sketches. */
  address: number;
  first: number;
  count: number;
  /** ‖z(query) - centroid‖² */
  centerDistance: number;
}

export class ListSketches {
  readonly #memory: KernelMemory;
  readonly #at: SketchAddresses;
  readonly #table: OpenTable;
  readonly #block: number;

  constructor(memory: KernelMemory, at: SketchAddresses, table: OpenTable) {
    this.#memory = memory;
    this.#at = at;
    this.#table = table;
    const { padded } = table.layout;
    this.#block = sketchBlock(padded)!;
    const random = new Random(1);
    const size = 1 / Math.sqrt(this.#block);
    for (let j = 0; j < padded; j++) {
      memory.f32[at.signs / 4 + j] = random.uniform() < 0.5 ? -size : size;
    }
    memory.f32.set(table.space.scale, at.scale / 4);
  }

  /** Makes the tables of some queries. @param queries (q, d) */
  begin(queries: Float32Array): void {
    const { f32, kernels } = this.#memory;
    const { dim, mean, unit } = this.#table.space;
    const { padded } = this.#table.layout;
    const at = this.#at;
    for (let q = 0; q < queries.length / dim; q++) {
      const z = at.center / 4;
      for (let j = 0; j < dim; j++) f32[z + j] = (queries[q * dim + j]! - mean[j]!) / unit;
      f32.fill(0, z + dim, z + padded);
      kernels.rotated(at.center, padded, at.signs, this.#block, at.turned);
      const tables = at.tables + q * padded * 4;
      kernels.sketchTables(at.turned, padded, tables, at.constants + q * 8);
    }
  }

  /** Makes the sketches of a list, which lies at `list.codes` and `list.scales`. @param address where to */
  make(list: { number: number; codes: number; scales: number }, address: number): void {
    const { kernels, u8, f32 } = this.#memory;
    const { layout, bytes, rows } = this.#table;
    const { padded, codes, scales } = layout;
    const at = this.#at;
    const center = codes + list.number * padded;
    const centerScale = scales + list.number * 4;
    u8.set(bytes.subarray(center, center + padded), at.centerCode);
    u8.set(bytes.subarray(centerScale, centerScale + 4), at.centerScale);
    kernels.residuals(at.centerCode, at.centerScale, 1, padded, at.scale, at.nothing, at.center);
    kernels.rotated(at.center, padded, at.signs, this.#block, at.turned);
    const count = rows[list.number]!;
    const parts = sketchLayout(count, padded);
    f32[address / 4] = kernels.sketchRows(
      list.codes,
      list.scales,
      count,
      padded,
      at.scale,
      at.center,
      at.turned,
      at.signs,
      this.#block,
      at.work,
      address + parts.bits,
      address + parts.offsets,
      address + parts.slopes,
    );
  }

  /** Numbers of the rows that may be within `limit` of a query. @returns how many (u32) lie at `found` */
  mayBeWithin(limit: number, query: number, rows: SketchedRows): { found: number; count: number } {
    const { kernels, f32 } = this.#memory;
    const { padded } = this.#table.layout;
    const { list, address, first, count, centerDistance } = rows;
    const at = this.#at;
    const parts = sketchLayout(this.#table.rows[list]!, padded);
    const offset = f32[at.constants / 4 + 2 * query]!;
    const step = f32[at.constants / 4 + 2 * query + 1]!;
    // Entries are rounded, each by a twelfth of a step squared.
    const rounding = (step * step * padded) / 4 / 12;
    const reach = DEVIATIONS * Math.sqrt(f32[address / 4]! * centerDistance + rounding);
    const within = kernels.sketched(
      address + parts.bits + (first * padded) / 8,
      address + parts.offsets + first * 4,
      address + parts.slopes + first * 4,
      first,
      count,
      padded,
      at.tables + query * padded * 4,
      reach - offset,
      step,
      limit - centerDistance,
      at.found,
    );
    return { found: at.found, count: within };
  }
}
