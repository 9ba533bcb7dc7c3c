/** What finds candidates for the queries of a tile: by dot products one query at a time, or by matrix products. */
import type { ChunkView } from './chunk-view.ts';
import { type FlatRanges, firstRangeAfter } from './id-ranges.ts';
import type { Admission, QueryCode } from './query-code.ts';

/** Rows admitted and not yet ranked. */
export interface Candidates {
  /** (q, capacity) pairs of a row number, ascending per query, and its lower bound as f32. */
  pairs: Uint32Array;
  /** (q) */
  counts: Uint32Array;
  capacity: number;
}

export interface Scanner {
  readonly codes: readonly QueryCode[];
  readonly candidates: Candidates;
  /** Sets the test of one query. */
  admit(query: number, admission: Admission): void;
  /**
   * What the sample says of a query: the squared distance, in the code's unit and shifted by the query's norm, under which
   * `rank` rows of the sample lie. +Infinity when the rank is not below the sample's size.
   */
  quantiles(rank: RankOf): Promise<Float64Array>;
  /** Adds the admitted ones of `count` rows to the candidates; there is room for all. */
  scan(row: number, count: number, excluded: FlatRanges): Promise<void>;
}

/** Which rank to take for a query, after leaving out rows by setting their values to +Infinity. */
export type RankOf = (query: number, values: Float32Array) => number;

/** NaN is admitted to no query. */
export function poison(
  biases: Float32Array,
  first: number,
  count: number,
  excluded: FlatRanges,
): void {
  for (let r = firstRangeAfter(excluded, first); r < excluded.length; r += 2) {
    const start = excluded[r]! - first;
    if (start >= count) break;
    biases.fill(Number.NaN, Math.max(0, start), Math.min(count, excluded[r + 1]! - first));
  }
}

/** Scans with the SIMD kernels: best for a few queries, bound by memory for one. */
export class DotScanner implements Scanner {
  readonly codes: readonly QueryCode[];
  readonly candidates: Candidates;
  readonly #view: ChunkView;
  readonly #tests: Admission[];

  constructor(view: ChunkView, codes: readonly QueryCode[], capacity: number) {
    this.#view = view;
    this.codes = codes;
    this.#tests = new Array(codes.length);
    this.candidates = {
      pairs: new Uint32Array(2 * codes.length * capacity),
      counts: new Uint32Array(codes.length),
      capacity,
    };
  }

  admit(query: number, admission: Admission): void {
    this.#tests[query] = admission;
  }

  async quantiles(rank: RankOf): Promise<Float64Array> {
    const { layout, scratch, kernels, f32 } = this.#view;
    const values = f32.subarray(scratch.values / 4, scratch.values / 4 + layout.sampleRows);
    return Float64Array.from(this.codes, (code, q) => {
      this.#load(code);
      kernels.bounds(
        layout.sampleCodes,
        layout.sampleScales,
        layout.sampleBiases,
        layout.sampleRows,
        layout.padded,
        scratch.query16,
        code.correction,
        2 * code.step,
        scratch.values,
      );
      const r = rank(q, values);
      if (r >= values.length) return Number.POSITIVE_INFINITY;
      return kernels.valueOfRank(scratch.values, values.length, r);
    });
  }

  async scan(row: number, count: number, excluded: FlatRanges): Promise<void> {
    const { layout, scratch, kernels, u32 } = this.#view;
    const biases = this.#biases(row, count, excluded);
    const found = scratch.found / 4;
    const { pairs, counts, capacity } = this.candidates;
    for (const [q, code] of this.codes.entries()) {
      this.#load(code);
      const { slope, offset, limit } = this.#tests[q]!;
      const admitted = kernels.scan(
        layout.codes + row * layout.padded,
        layout.scales + row * 4,
        biases,
        count,
        layout.padded,
        scratch.query16,
        code.correction,
        slope,
        offset,
        limit,
        row,
        scratch.found,
      );
      if (admitted === 0) continue;
      pairs.set(u32.subarray(found, found + 2 * admitted), 2 * (q * capacity + counts[q]!));
      counts[q]! += admitted;
    }
  }

  #load(code: QueryCode): void {
    const { i16, scratch, layout } = this.#view;
    const start = scratch.query16 / 2;
    i16.set(code.integers, start);
    i16.fill(0, start + layout.dim, start + layout.padded);
  }

  /** Address of the rows' biases, a poisoned copy when some rows are left out. */
  #biases(row: number, count: number, excluded: FlatRanges): number {
    const { first, layout, scratch, f32 } = this.#view;
    const r = firstRangeAfter(excluded, first + row);
    const from = layout.biases + row * 4;
    if (r >= excluded.length || excluded[r]! >= first + row + count) return from;
    const start = scratch.biases / 4;
    f32.copyWithin(start, from / 4, from / 4 + count);
    poison(f32.subarray(start, start + count), first + row, count, excluded);
    return scratch.biases;
  }
}
