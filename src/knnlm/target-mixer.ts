/** log p of one target after another of a document: by constant λ and T, or by the gate and what the text has shown. */
import { Gate } from './gate.ts';
import { interpolate, knnLogProbOf, type NeighborRow } from './interpolate.ts';
import { Trust } from './trust.ts';
import type { ResolvedSettings } from './types.ts';

export class TargetMixer {
  readonly #settings: ResolvedSettings;
  readonly #gate: Gate | undefined;
  readonly #trust = new Trust();

  constructor(settings: ResolvedSettings) {
    this.#settings = settings;
    this.#gate = settings.gate && new Gate(settings.gate, settings.k);
  }

  /** False when the model alone decides and nothing needs to be searched. */
  get needsNeighbors(): boolean {
    return this.#gate !== undefined || this.#settings.lambda > 0;
  }

  /** @param lm log p_LM of the target */
  next(target: number, lm: number, row: NeighborRow): number {
    if (row.distances[0] === Number.POSITIVE_INFINITY) return lm;
    const { lambda, temperature } = this.#settings;
    if (!this.#gate) return interpolate(lm, knnLogProbOf(target, row, temperature), lambda);
    const weighed = this.#gate.weigh(row);
    let voted = 0;
    for (let i = 0; i < row.values.length; i++) {
      if (row.values[i] === target) voted += weighed.weights[i]!;
    }
    return this.#trust.next(interpolate(lm, Math.log(voted), weighed.lambda), lm);
  }
}
