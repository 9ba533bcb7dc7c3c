/**
 * The continuous cache (Grave et al. 2017, "Improving Neural Language Models with a Continuous Cache"; kNN-LM's Table 1): the
 * text read so far is a small store of its own. Its keys are the states that were the text's queries, its values the
 * tokens that came after them. A state is added once its token has been told, so that nothing votes for itself.
 *
 *     p_cache(y | x) ∝ Σ over cached (k_i, v_i) with v_i = y of exp(-‖k_i - f(x)‖² / T)
 *
 * As with the store only the nearest vote; Grave et al. take all, by inner product.
 */
import { GrowingIndex } from '../indexes/growing-index.ts';
import type { NeighborRow } from './interpolate.ts';

/** States that are remembered. */
export const CACHED_STATES = 4096;
/** Voters of one query. */
export const CACHE_NEIGHBORS = 64;

const NOTHING: NeighborRow = { distances: new Float32Array(0), values: new Uint32Array(0) };

export class ContinuousCache {
  readonly #index: GrowingIndex;
  readonly #tokens: number[] = [];
  /** Position in the text of the oldest state held. */
  #first = 0;

  private constructor(index: GrowingIndex) {
    this.#index = index;
  }

  /** @param dim d */
  static async open(dim: number): Promise<ContinuousCache> {
    return new ContinuousCache(await GrowingIndex.open(dim));
  }

  /** Nothing must be asked of it any more. */
  close(): void {
    this.#index.close();
  }

  /** States that were added, those forgotten since included: the position of the next one. */
  get length(): number {
    return this.#first + this.#tokens.length;
  }

  /** @param key (d) the state that predicted `token` */
  add(key: ArrayLike<number>, token: number): void {
    this.#index.add(key);
    this.#tokens.push(token);
  }

  /** The nearest of the last states before a position, nearest first. @param end by default all that were added */
  nearest(query: ArrayLike<number>, end = this.length): NeighborRow {
    const start = Math.max(0, end - CACHED_STATES) - this.#first;
    if (end <= this.#first) return NOTHING;
    const range = [Math.max(0, start), end - this.#first] as const;
    const { rows, distances } = this.#index.nearest(query, range, CACHE_NEIGHBORS);
    const values = new Uint32Array(rows.length);
    for (let i = 0; i < rows.length; i++) values[i] = this.#tokens[rows[i]!]!;
    return { distances, values };
  }

  /** Lets go of what no query from a position on can reach any more. */
  forgetBefore(position: number): void {
    const count = Math.min(this.#tokens.length, position - CACHED_STATES - this.#first);
    // Seldom, since what stays is moved.
    if (count < CACHED_STATES) return;
    this.#index.drop(count);
    this.#tokens.splice(0, count);
    this.#first += count;
  }
}
