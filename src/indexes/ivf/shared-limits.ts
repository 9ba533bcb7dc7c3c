/**
 * What the workers of one search tell each other while they search: how near the nearest rows are that each has found, a share of the
 * wanted number. Together these are enough, so that no row beyond the farthest of these distances is of interest to any of them.
 */

const INFINITY_BITS = 0x7f80_0000;

/** @returns (q, workers) bits of f32 distances, none known */
export function newLimits(queries: number, workers: number): Uint32Array {
  return new Uint32Array(new SharedArrayBuffer(4 * queries * workers)).fill(INFINITY_BITS);
}

export class SharedLimits {
  /** Rows that each worker finds within the distance that it tells. */
  readonly share: number;
  readonly #bits: Uint32Array;
  readonly #worker: number;
  readonly #workers: number;
  readonly #word = new Uint32Array(1);
  readonly #distance = new Float32Array(this.#word.buffer);

  /** @param depth rows wanted per query, of all workers together */
  constructor(
    bits: Uint32Array,
    { worker, workers, depth }: Record<'worker' | 'workers' | 'depth', number>,
  ) {
    this.#bits = bits;
    this.#worker = worker;
    this.#workers = workers;
    this.share = Math.ceil(depth / workers);
  }

  /** A share of the rows lies within this distance, which is not negative. */
  tell(query: number, distance: number): void {
    this.#distance[0] = distance;
    Atomics.store(this.#bits, query * this.#workers + this.#worker, this.#word[0]!);
  }

  /** Distance within which all rows of interest lie; +Infinity until every worker has told one. Bits of positive floats order as they do. */
  of(query: number): number {
    let most = 0;
    for (let w = 0; w < this.#workers; w++) {
      most = Math.max(most, Atomics.load(this.#bits, query * this.#workers + w));
    }
    this.#word[0] = most;
    return this.#distance[0]!;
  }
}
