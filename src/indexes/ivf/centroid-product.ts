/**
 * Nearest centroids of coded rows, by integer matrix products: a tile of codes times a tile of centroids, both 8-bit. The
 * products of a tile stay in the processor's second-level cache, which makes them several times as fast.
 */
import type { IntegerProduct } from '../integer-product.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';

const TILE_ROWS = 256;
const TILE_COLUMNS = 1024;

export interface CodedRows {
  /** Addresses: (count, padded) u8, (count) f32, (count) f32. */
  codes: number;
  scales: number;
  biases: number;
  count: number;
}

export class CentroidProduct {
  readonly #memory: KernelMemory;
  readonly #product: IntegerProduct;
  readonly #padded: number;
  readonly #columns: number;
  readonly #matrix: number;
  readonly #constants: number;
  readonly #dots: number;

  /** Reserves addresses, before the memory itself is there. */
  static layout(layout: Layout, lists: number, padded: number) {
    const columns = Math.ceil(lists / 4) * 4;
    return {
      columns,
      matrix: layout.take(columns * padded),
      constants: layout.take(columns * 12 + 16 * Math.ceil(columns / TILE_COLUMNS)),
      dots: layout.take(TILE_ROWS * Math.min(columns, TILE_COLUMNS) * 4),
    };
  }

  constructor(
    memory: KernelMemory,
    product: IntegerProduct,
    padded: number,
    at: ReturnType<typeof CentroidProduct.layout>,
  ) {
    this.#memory = memory;
    this.#product = product;
    this.#padded = padded;
    this.#columns = at.columns;
    this.#matrix = at.matrix;
    this.#constants = at.constants;
    this.#dots = at.dots;
  }

  /**
   * Rounds centroids to integers, tile after tile: w = z ⊙ scale ≈ step · p with |p| ≤ 127.
   * @param centroids (lists, padded) in z; @param scale (d)
   */
  load(centroids: Float32Array, scale: Float32Array): void {
    const { i8, f32, i32 } = this.#memory;
    const lists = centroids.length / this.#padded;
    for (const { first, columns, matrix, constants } of this.#tiles()) {
      for (let c = 0; c < columns; c++) {
        const at = (first + c) * this.#padded;
        const centroid = centroids.subarray(at, at + scale.length);
        let largest = 0;
        let norm = 0;
        for (let j = 0; j < centroid.length; j++) {
          norm += centroid[j]! ** 2;
          largest = Math.max(largest, Math.abs(centroid[j]! * scale[j]!));
        }
        const step = largest / this.#product.mostB || 1;
        let sum = 0;
        for (let j = 0; j < this.#padded; j++) {
          const p = j < centroid.length ? Math.round((centroid[j]! * scale[j]!) / step) : 0;
          i8[matrix + j * columns + c] = p;
          sum += p;
        }
        // Columns that only fill up are infinitely far.
        f32[constants / 4 + c] = first + c < lists ? norm : 3e38;
        f32[constants / 4 + columns + c] = 2 * step;
        i32[constants / 4 + 2 * columns + c] = 128 * sum;
      }
    }
  }

  /** Writes each row's list (u32 at `which`) and its squared distance in z (f32 at `best`). */
  async assign(rows: CodedRows, which: number, best: number): Promise<void> {
    const { kernels, buffer, f32 } = this.#memory;
    const padded = this.#padded;
    f32.fill(3e38, best / 4, best / 4 + rows.count);
    for (let row = 0; row < rows.count; row += TILE_ROWS) {
      const count = Math.min(TILE_ROWS, rows.count - row);
      const a = new Uint8Array(buffer, rows.codes + row * padded, count * padded);
      for (const { first, columns, matrix, constants } of this.#tiles()) {
        const b = new Int8Array(buffer, matrix, padded * columns);
        const out = new Int32Array(buffer, this.#dots, count * columns);
        await this.#product.multiply({ a, b, out, rows: count, d: padded, columns });
        kernels.nearest(
          this.#dots,
          count,
          columns,
          rows.scales + row * 4,
          constants,
          first,
          best + row * 4,
          which + row * 4,
        );
      }
    }
    for (let i = 0; i < rows.count; i++) {
      const distance = f32[best / 4 + i]! + f32[rows.biases / 4 + i]!;
      f32[best / 4 + i] = Math.max(0, distance);
    }
  }

  *#tiles() {
    for (let first = 0, tile = 0; first < this.#columns; first += TILE_COLUMNS, tile++) {
      const columns = Math.min(TILE_COLUMNS, this.#columns - first);
      const matrix = this.#matrix + first * this.#padded;
      yield { first, columns, matrix, constants: this.#constants + first * 12 + 16 * tile };
    }
  }
}
