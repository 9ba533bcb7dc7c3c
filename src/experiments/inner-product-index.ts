/**
 * Exact search by inner product, as a search by distance one dimension up (Bachrach et al. 2014, the reduction of maximum inner
 * product to nearest neighbor): with M the largest norm of a key, a key k becomes (k, √(M² - ‖k‖²)) and a query q (q, 0), so
 *
 *     ‖(q, 0) - (k, …)‖² = ‖q‖² + M² - 2 q·k.
 *
 * A query's distances are its inner products but for a constant and the factor -2, which p_kNN sees as a T twice as large.
 */
import { FlatIndex } from '../indexes/flat-index.ts';
import type { EntryRows, Neighbors, SearchOptions, VectorIndex } from '../indexes/vector-index.ts';
import { Breather } from '../math/breather.ts';

export class InnerProductIndex implements VectorIndex {
  readonly kind = 'inner product';
  readonly dim: number;
  readonly #index: FlatIndex;

  private constructor(index: FlatIndex, dim: number) {
    this.#index = index;
    this.dim = dim;
  }

  /** @param keys (n, d), copied */
  static async fromKeys(keys: Float32Array, dim: number): Promise<InnerProductIndex> {
    const n = keys.length / dim;
    const breather = new Breather();
    const squares = new Float64Array(n);
    let most = 0;
    for (let row = 0; row < n; row++) {
      let square = 0;
      for (let i = row * dim; i < (row + 1) * dim; i++) square += keys[i]! * keys[i]!;
      squares[row] = square;
      most = Math.max(most, square);
      if ((row & 255) === 0) await breather.pause();
    }
    const raised = new Float32Array(n * (dim + 1));
    for (let row = 0; row < n; row++) {
      raised.set(keys.subarray(row * dim, (row + 1) * dim), row * (dim + 1));
      raised[(row + 1) * (dim + 1) - 1] = Math.sqrt(most - squares[row]!);
      if ((row & 255) === 0) await breather.pause();
    }
    return new InnerProductIndex(await FlatIndex.fromKeys(raised, dim + 1), dim);
  }

  get size(): number {
    return this.#index.size;
  }

  get memoryBytes(): number {
    return this.#index.memoryBytes;
  }

  search(queries: Float32Array, options: SearchOptions): Promise<Neighbors> {
    return this.#index.search(this.#raised(queries), options);
  }

  distances(queries: Float32Array, rows: EntryRows): Promise<Float32Array> {
    return this.#index.distances(this.#raised(queries), rows);
  }

  /** Queries with a zero in the dimension that was added. */
  #raised(queries: Float32Array): Float32Array {
    const d = this.dim;
    const raised = new Float32Array((queries.length / d) * (d + 1));
    for (let row = 0; row < queries.length / d; row++) {
      raised.set(queries.subarray(row * d, (row + 1) * d), row * (d + 1));
    }
    return raised;
  }

  close(): Promise<void> {
    return this.#index.close();
  }
}
