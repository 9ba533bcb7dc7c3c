/**
 * The attention caches of several sequences as rows of one set of tensors, each of shape (rows, …, capacity, …) along its axis of
 * positions. A row is filled from position 0 on; what it has not filled is hidden by the attention mask. So a step copies
 * nothing but its own positions, and rows of different lengths are read together; tensors are only made anew when a row has filled
 * its capacity, or more rows are wanted than there is room for.
 */
import type { Ort } from '../../onnxruntime.ts';
import { type CacheShape, cacheDims, type KvCache } from '../graph-feeds.ts';
import type { CacheRows } from '../onnx/cache-rows.ts';
import type { OnnxGraph } from '../onnx/graph.ts';
import type { Sequence } from './sequence.ts';

type Numbers = Float32Array | Uint16Array;

/** How one cache tensor lies in memory. */
export interface RowLayout extends CacheRows {
  /** Sizes of one row but for its positions: (outer, positions, inner). */
  outer: number;
  inner: number;
  /** Bytes of a number. */
  size: 2 | 4;
  /** Sizes between batch and positions, and after positions. */
  before: number[];
  after: number[];
}

/** Undefined where a size is not known before the model has run. */
export function rowLayouts(
  graph: OnnxGraph,
  rows: readonly CacheRows[],
  shape: CacheShape,
): RowLayout[] | undefined {
  const product = (sizes: number[]): number => sizes.reduce((all, size) => all * size, 1);
  const layouts = rows.map((row): RowLayout => {
    const input = graph.inputs.find(({ name }) => name === row.input)!;
    const dims = cacheDims(input, { ...shape, batch: 1 });
    const [before, after] = [dims.slice(1, row.axis), dims.slice(row.axis + 1)];
    return {
      ...row,
      outer: product(before),
      inner: product(after),
      size: row.elementType === 'float16' ? 2 : 4,
      before,
      after,
    };
  });
  return layouts.every(({ outer, inner }) => outer > 0 && inner > 0) ? layouts : undefined;
}

/** Bytes that one position takes in all cache tensors together. */
export const bytesPerPosition = (layouts: readonly RowLayout[]): number =>
  layouts.reduce((sum, { outer, inner, size }) => sum + outer * inner * size, 0);

export class CacheBlock {
  readonly #ort: typeof Ort;
  readonly #layouts: readonly RowLayout[];
  /** By layout: (room, outer, capacity, inner). */
  #tensors: Numbers[];
  /** Row i belongs to sequence i. */
  readonly sequences: Sequence[] = [];
  /** Positions of a row. */
  #capacity: number;
  /** Rows there is memory for. */
  #room: number;

  constructor(
    ort: typeof Ort,
    layouts: readonly RowLayout[],
    { room, capacity }: { room: number; capacity: number },
  ) {
    this.#ort = ort;
    this.#layouts = layouts;
    this.#room = room;
    this.#capacity = capacity;
    this.#tensors = this.#allocate(room, capacity);
  }

  get capacity(): number {
    return this.#capacity;
  }

  get room(): number {
    return this.#room;
  }

  get bytes(): number {
    return this.#tensors.reduce((sum, { byteLength }) => sum + byteLength, 0);
  }

  /** Makes it of another size; what the rows hold stays. One tensor after another, so that little is held twice. */
  resize({ room, capacity }: { room: number; capacity: number }): void {
    if (room === this.#room && capacity === this.#capacity) return;
    for (const [t, layout] of this.#layouts.entries()) {
      const { outer, inner } = layout;
      const before = this.#tensors[t]!;
      const after = this.#numbers(layout, room * outer * capacity * inner);
      for (const [row, { cached }] of this.sequences.entries()) {
        for (let o = row * outer; o < (row + 1) * outer; o++) {
          const start = o * this.#capacity * inner;
          const filled = before.subarray(start, start + cached * inner);
          after.set(filled as Float32Array, o * capacity * inner);
        }
      }
      this.#tensors[t] = after;
    }
    this.#room = room;
    this.#capacity = capacity;
  }

  /** Takes in a sequence with a cache of its own, which must fit. */
  add(sequence: Sequence): void {
    const { cached, state } = sequence;
    const row = this.sequences.push(sequence) - 1;
    for (const [t, { input, outer, inner }] of this.#layouts.entries()) {
      const data = state.cache![input]!.data as Float32Array;
      for (let o = 0; o < outer; o++) {
        const filled = data.subarray(o * cached * inner, (o + 1) * cached * inner);
        this.#tensors[t]!.set(filled, (row * outer + o) * this.#capacity * inner);
      }
    }
    state.cache = undefined;
    sequence.block = this;
  }

  /** Gives a sequence its own cache back. */
  release(sequence: Sequence): void {
    const row = this.sequences.indexOf(sequence);
    const own: KvCache = {};
    for (const [t, layout] of this.#layouts.entries()) {
      const { input, outer, inner, elementType, before, after } = layout;
      const length = sequence.cached * inner;
      const data = this.#numbers(layout, outer * length);
      for (let o = 0; o < outer; o++) {
        const start = (row * outer + o) * this.#capacity * inner;
        data.set(this.#tensors[t]!.subarray(start, start + length) as Float32Array, o * length);
      }
      const dims = [1, ...before, sequence.cached, ...after];
      own[input] = new this.#ort.Tensor(elementType as 'float32', data as Float32Array, dims);
    }
    this.remove(sequence);
    sequence.state.cache = own;
  }

  /** Forgets a sequence's row: the last one takes its place, so that rows lie side by side. */
  remove(sequence: Sequence): void {
    const row = this.sequences.indexOf(sequence);
    const last = this.sequences.pop()!;
    sequence.block = undefined;
    if (last === sequence) return;
    this.sequences[row] = last;
    for (const [t, { outer, inner }] of this.#layouts.entries()) {
      const size = outer * this.#capacity * inner;
      const from = this.sequences.length * size;
      this.#tensors[t]!.copyWithin(row * size, from, from + size);
    }
  }

  /** The caches of rows `from` to `to`, as views. */
  view(from: number, to: number): KvCache {
    const cache: KvCache = {};
    for (const [
      t,
      { input, outer, inner, elementType, before, after },
    ] of this.#layouts.entries()) {
      const size = outer * this.#capacity * inner;
      const data = this.#tensors[t]!.subarray(from * size, to * size);
      const dims = [to - from, ...before, this.#capacity, ...after];
      cache[input] = new this.#ort.Tensor(elementType as 'float32', data as Float32Array, dims);
    }
    return cache;
  }

  /**
   * Puts what a step has added behind what the rows hold.
   * @param added by cache input: (to - from, …, 1, …)
   * @param rows those that were read; what was computed for the others is not used
   */
  append(added: KvCache, from: number, rows: readonly number[]): void {
    for (const [t, { input, outer, inner }] of this.#layouts.entries()) {
      const data = added[input]!.data as Float32Array;
      const tensor = this.#tensors[t]!;
      for (const row of rows) {
        const position = this.sequences[row]!.cached;
        for (let o = 0; o < outer; o++) {
          const source = ((row - from) * outer + o) * inner;
          const target = ((row * outer + o) * this.#capacity + position) * inner;
          for (let i = 0; i < inner; i++) tensor[target + i] = data[source + i]!;
        }
      }
    }
  }

  #allocate(room: number, capacity: number): Numbers[] {
    return this.#layouts.map((layout) =>
      this.#numbers(layout, room * layout.outer * capacity * layout.inner),
    );
  }

  #numbers({ size }: RowLayout, count: number): Numbers {
    return size === 2 ? new Uint16Array(count) : new Float32Array(count);
  }
}
