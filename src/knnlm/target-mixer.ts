/** log p of one target after another of a document: by λ and T, by a λ for each store, or by the gate and what the text has shown. */
import { interpolate, knnLogProbOf } from './interpolate.ts';
import type { RetrievedRow } from './retriever.ts';
import { Trust } from './trust.ts';
import type { ResolvedSettings } from './types.ts';
import { Weigher } from './weigh.ts';

export class TargetMixer {
  readonly #settings: ResolvedSettings;
  readonly #weigher: Weigher;
  readonly #trust = new Trust();

  constructor(settings: ResolvedSettings) {
    this.#settings = settings;
    this.#weigher = new Weigher(settings);
  }

  /** False when the model alone decides and nothing needs to be searched. */
  get needsNeighbors(): boolean {
    return this.#settings.gate !== undefined || this.#settings.lambda > 0;
  }

  /** @param lm log p_LM of the target */
  next(target: number, lm: number, row: RetrievedRow): number {
    if (row.distances[0] === Number.POSITIVE_INFINITY) return lm;
    const { lambda, temperature, gate, lambdas } = this.#settings;
    if (!gate && !lambdas) {
      return interpolate(lm, knnLogProbOf(target, row, temperature), lambda);
    }
    const weighed = this.#weigher.weigh(row);
    let voted = 0;
    for (let i = 0; i < row.values.length; i++) {
      if (row.values[i] === target) voted += weighed.weights[i]!;
    }
    const mixed = interpolate(lm, Math.log(voted), weighed.lambda);
    return gate ? this.#trust.next(mixed, lm) : mixed;
  }
}
