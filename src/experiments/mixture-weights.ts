/**
 * Weights of several memories beside a model, by expectation maximization: with r_j = p_j / p_LM the likelihood gained is
 * Σ log(1 + Σ_j λ_j (r_j - 1)), concave in the weights.
 */
import { Breather } from '../math/breather.ts';
import { type Score, total } from './score.ts';

const MOST_STEPS = 200;
const TOLERANCE = 1e-5;

export interface Parts {
  /** (q) log p_LM of each target */
  lm: Float32Array;
  /** One (q) array of p_j / p_LM - 1 per memory. */
  gains: readonly Float32Array[];
}

/** @returns one λ per memory; what they leave of 1 is the model's */
export async function mixtureWeights({ lm, gains }: Parts): Promise<number[]> {
  const breather = new Breather();
  let weights = gains.map(() => 0.5 / gains.length);
  for (let step = 0; step < MOST_STEPS; step++) {
    const shares = new Float64Array(gains.length);
    for (let row = 0; row < lm.length; row++) {
      let mixed = 1;
      for (let j = 0; j < gains.length; j++) mixed += weights[j]! * gains[j]![row]!;
      for (let j = 0; j < gains.length; j++) {
        shares[j]! += (weights[j]! * (1 + gains[j]![row]!)) / mixed;
      }
    }
    const next = Array.from(shares, (share) => share / lm.length);
    const moved = Math.max(...next.map((weight, j) => Math.abs(weight - weights[j]!)));
    weights = next;
    if (moved < TOLERANCE) break;
    await breather.pause();
  }
  return weights;
}

/** @param windows a score of the same text, for how many targets each window has */
export function threeWayScore({ lm, gains }: Parts, weights: number[], windows: Score): Score {
  let row = 0;
  const nll = windows.tokens.map((tokens) => {
    let sum = 0;
    for (const end = row + tokens; row < end; row++) {
      const gain = gains.reduce((all, part, j) => all + weights[j]! * part[row]!, 0);
      sum -= lm[row]! + Math.log1p(gain);
    }
    return sum;
  });
  const { tokens } = windows;
  return { nll, tokens, perplexity: Math.exp(total(nll) / total(tokens)) };
}
