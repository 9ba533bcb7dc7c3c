/**
 * The nearest neighbors of a few queries among the rows of a chunk: guess a radius from the sample, collect all rows that
 * may lie within it, rank them by exact distance. The caller checks that the radius was large enough.
 */
import { KnnLMError } from '../errors.ts';
import { LISTED_ROWS } from './chunk.ts';
import type { ChunkView } from './chunk-view.ts';
import { firstRangeAfter, includesId } from './id-ranges.ts';
import { type Admission, admission, type CodeSpace, withTies } from './query-code.ts';
import type { Scanner } from './scanner.ts';
import type { PartialNeighbors, SearchTask } from './search-task.ts';

/** Pairs of u32 (entry id, bits of the distance): as little-endian u64 they sort by distance, then by id. */
type Pairs = Uint32Array;

export class TileSearch {
  readonly #view: ChunkView;
  readonly #space: CodeSpace;
  readonly #scanner: Scanner;
  readonly #task: SearchTask;
  /** (q) squared distances: rows beyond are not collected. */
  readonly #radii: Float64Array;
  /** (q) the test that goes with each radius. */
  readonly #tests: Admission[] = [];
  /** (q) exactly ranked rows, at most k each. */
  readonly #best: Pairs[];

  constructor(view: ChunkView, space: CodeSpace, scanner: Scanner, task: SearchTask) {
    this.#view = view;
    this.#space = space;
    this.#scanner = scanner;
    this.#task = task;
    this.#radii = new Float64Array(scanner.codes.length).fill(Number.POSITIVE_INFINITY);
    this.#best = scanner.codes.map(() => new Uint32Array(0));
  }

  /** Room for candidates that a block of `blockRows` rows can never overflow, and that is rarely full. */
  static capacity(k: number, rows: number, blockRows: number): number {
    return blockRows + Math.min(rows, Math.max(3 * k, 4096));
  }

  async run(): Promise<PartialNeighbors> {
    this.#radii.set(this.#task.radii ?? (await this.#guessRadii()));
    const radii = this.#radii.slice();
    for (let q = 0; q < radii.length; q++) this.#admit(q);
    await this.#scanRows();
    for (let q = 0; q < radii.length; q++) this.#rank(q);
    return this.#result(radii);
  }

  /**
   * The sample's quantile at k of the remaining entries, with three standard deviations (and three rows) to spare. A wrong
   * guess costs time, never a neighbor.
   */
  async #guessRadii(): Promise<Float64Array> {
    const { sample, first } = this.#view;
    const { exclude, excludePerQuery, k, remaining } = this.#task;
    const { unit } = this.#space;
    if (sample.length === 0) return this.#radii;
    const rank = (q: number, values: Float32Array): number => {
      const own = excludePerQuery?.[q];
      let left = sample.length;
      if (exclude.length > 0 || (own && own.length > 0)) {
        for (let i = 0; i < sample.length; i++) {
          const id = first + sample[i]!;
          if (includesId(exclude, id) || (own && includesId(own, id))) {
            values[i] = Number.POSITIVE_INFINITY;
            left--;
          }
        }
      }
      const expected = (k * left) / Math.max(remaining, 1);
      const wanted = Math.ceil(expected + 3 * Math.sqrt(expected) + 3);
      return wanted < left ? wanted - 1 : values.length;
    };
    const quantiles = await this.#scanner.quantiles(rank);
    return quantiles.map((value, q) =>
      Math.max(0, (value + this.#scanner.codes[q]!.norm) * unit * unit),
    );
  }

  #admit(q: number): void {
    this.#tests[q] = admission(this.#scanner.codes[q]!, this.#space, this.#radii[q]!);
    this.#scanner.admit(q, this.#tests[q]!);
  }

  async #scanRows(): Promise<void> {
    const { from, to, exclude, cancel } = this.#task;
    const { blockRows } = this.#view.layout;
    const { counts, capacity } = this.#scanner.candidates;
    for (let row = this.#nextIncluded(from); row < to; ) {
      if (Atomics.load(cancel, 0) !== 0) throw new KnnLMError('ABORTED', 'The search was stopped.');
      const count = Math.min(blockRows, to - row);
      await this.#scanner.scan(row, count, exclude);
      for (let q = 0; q < counts.length; q++) {
        if (counts[q]! <= capacity - blockRows) continue;
        this.#rank(q);
        this.#tighten(q);
      }
      row = this.#nextIncluded(row + count);
    }
  }

  #nextIncluded(row: number): number {
    const { exclude } = this.#task;
    const { first } = this.#view;
    const r = firstRangeAfter(exclude, first + row);
    return r < exclude.length && exclude[r]! <= first + row ? exclude[r + 1]! - first : row;
  }

  /**
   * Moves a query's candidates, by exact distance, into its best. About k that look nearest come first: the k-th of their
   * distances is a radius that holds k neighbors, and most other candidates prove to be beyond it.
   */
  #rank(q: number): void {
    const { scratch, f64 } = this.#view;
    f64.set(this.#query(q), scratch.query64 / 8);
    const { rows, bounds } = this.#takeCandidates(q);
    const pivot = this.#pivot(bounds);
    const test = this.#tests[q]!;
    this.#keep(
      q,
      rows.filter((_, i) => bounds[i]! <= pivot),
    );
    this.#tighten(q);
    const { offset, limit } = this.#tests[q]!;
    const scales = this.#view.layout.scales / 4;
    this.#keep(
      q,
      rows.filter(
        (row, i) =>
          bounds[i]! > pivot &&
          bounds[i]! + this.#view.f32[scales + row]! * (test.offset - offset) <= limit,
      ),
    );
  }

  /** Empties a query's candidates, without those it excludes. */
  #takeCandidates(q: number): { rows: Uint32Array; bounds: Float32Array } {
    const { pairs, counts, capacity } = this.#scanner.candidates;
    const start = 2 * q * capacity;
    const own = this.#task.excludePerQuery?.[q];
    const floats = new Float32Array(pairs.buffer, pairs.byteOffset, pairs.length);
    const rows = new Uint32Array(counts[q]!);
    const bounds = new Float32Array(counts[q]!);
    let count = 0;
    for (let at = start; at < start + 2 * rows.length; at += 2) {
      if (own?.length && includesId(own, this.#view.first + pairs[at]!)) continue;
      rows[count] = pairs[at]!;
      bounds[count++] = floats[at + 1]!;
    }
    counts[q] = 0;
    return { rows: rows.subarray(0, count), bounds: bounds.subarray(0, count) };
  }

  /** A bound that about k candidates do not exceed: the rank of k, in as many as fit the scratch room. */
  #pivot(bounds: Float32Array): number {
    const { k } = this.#task;
    if (bounds.length <= k) return Number.POSITIVE_INFINITY;
    const { scratch, f32, kernels } = this.#view;
    const count = Math.min(bounds.length, LISTED_ROWS);
    f32.set(bounds.subarray(0, count), scratch.values / 4);
    const expected = (k * count) / bounds.length;
    const spare = count < bounds.length ? 3 * Math.sqrt(expected) : 0;
    const rank = Math.min(count, Math.ceil(expected + spare)) - 1;
    return kernels.valueOfRank(scratch.values, count, rank);
  }

  /** Ranks rows exactly and keeps the k best of them and of those kept before. */
  #keep(q: number, rows: Uint32Array): void {
    if (rows.length === 0) return;
    const best = this.#best[q]!;
    const { first } = this.#view;
    const pairs: Pairs = new Uint32Array(best.length + 2 * rows.length);
    pairs.set(best);
    let end = best.length;
    this.#view.distances(rows, (row, bits) => {
      pairs[end++] = first + row;
      pairs[end++] = bits;
    });
    new BigUint64Array(pairs.buffer).sort();
    this.#best[q] = pairs.slice(0, 2 * this.#task.k);
  }

  /** With k rows ranked, only rows as near as the k-th of them are of interest. */
  #tighten(q: number): void {
    const best = this.#best[q]!;
    if (best.length < 2 * this.#task.k) return;
    const kth = new Float32Array(best.buffer)[best.length - 1]!;
    this.#radii[q] = Math.min(this.#radii[q]!, withTies(kth));
    this.#admit(q);
  }

  #query(q: number): Float32Array {
    const { dim } = this.#space;
    return this.#task.queries.subarray(q * dim, (q + 1) * dim);
  }

  #result(radii: Float64Array): PartialNeighbors {
    const stride = Math.max(0, ...this.#best.map((best) => best.length / 2));
    const q = this.#best.length;
    const ids = new Int32Array(q * stride);
    const distances = new Float32Array(q * stride);
    const counts = new Uint32Array(q);
    for (const [i, best] of this.#best.entries()) {
      const floats = new Float32Array(best.buffer);
      counts[i] = best.length / 2;
      for (let j = 0; j < counts[i]!; j++) {
        ids[i * stride + j] = best[2 * j]!;
        distances[i * stride + j] = floats[2 * j + 1]!;
      }
    }
    return { stride, counts, ids, distances, radii };
  }
}
