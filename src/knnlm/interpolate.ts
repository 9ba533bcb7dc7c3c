/**
 * The two equations of kNN-LM (Khandelwal et al. 2020, equations 2 and 3), in log space.
 *
 *     p_kNN(y | x) ∝ Σ over neighbors (k_i, v_i) with v_i = y of exp(-‖k_i - f(x)‖² / T)
 *     p(y | x)     = λ · p_kNN(y | x) + (1 - λ) · p_LM(y | x)
 *
 * The softmax runs over the k neighbors, then the weights of equal values add up, as in urvashik/knnlm and
 * neulab/knn-transformers; a token no neighbor votes for has log p_kNN = -Infinity (they write -10,000).
 */
import { KnnLMError } from '../errors.ts';
import { logAddExp } from '../math/log-space.ts';
import { Votes, votesOf } from './votes.ts';

/** One query's neighbors, in any order; padding has distance +Infinity. */
export interface NeighborRow {
  /** (k) squared L2 distances. */
  distances: ArrayLike<number>;
  /** (k) token ids that followed. */
  values: ArrayLike<number>;
}

/** (k) softmax of -distance / temperature in float64; padding has weight 0. All zero when there are no neighbors. */
export function neighborWeights(distances: ArrayLike<number>, temperature: number): Float64Array {
  const weights = new Float64Array(distances.length);
  let nearest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < distances.length; i++) nearest = Math.min(nearest, distances[i]!);
  if (nearest === Number.POSITIVE_INFINITY) return weights;
  let sum = 0;
  for (let i = 0; i < weights.length; i++) {
    weights[i] = Math.exp((nearest - distances[i]!) / temperature);
    sum += weights[i]!;
  }
  for (let i = 0; i < weights.length; i++) weights[i]! /= sum;
  return weights;
}

/** log p_kNN of every token that a neighbor votes for; all others are -Infinity. Empty when there are no neighbors. */
export function knnLogProbs(row: NeighborRow, temperature: number): Map<number, number> {
  const { tokens, logProbs } = votesOf(row, neighborWeights(row.distances, temperature));
  return new Map(tokens.map((token, i) => [token, logProbs[i]!]));
}

/** log p_kNN of one token. -Infinity when no neighbor votes for it. Allocates nothing: the loop of evaluation. */
export function knnLogProbOf(
  target: number,
  { distances, values }: NeighborRow,
  temperature: number,
): number {
  let nearest = Number.POSITIVE_INFINITY;
  for (let i = 0; i < distances.length; i++) {
    if (distances[i]! < nearest) nearest = distances[i]!;
  }
  if (nearest === Number.POSITIVE_INFINITY) return Number.NEGATIVE_INFINITY;
  let all = 0;
  let voted = 0;
  for (let i = 0; i < distances.length; i++) {
    const weight = Math.exp((nearest - distances[i]!) / temperature);
    all += weight;
    if (values[i] === target) voted += weight;
  }
  return Math.log(voted / all);
}

/** log(λ p_kNN + (1 - λ) p_LM). λ = 0 returns the model's value bit for bit, λ = 1 the neighbors'. */
export function interpolate(lmLogProb: number, knnLogProb: number, lambda: number): number {
  if (lambda === 0) return lmLogProb;
  if (lambda === 1) return knnLogProb;
  return logAddExp(Math.log(lambda) + knnLogProb, Math.log1p(-lambda) + lmLogProb);
}

/**
 * The mixture over the whole vocabulary.
 * Without any neighbor (an empty datastore, everything excluded) it is the model alone.
 * @param lmLogProbs (V)
 * @returns (V) natural-log probabilities, a new array unless λ is 0
 */
export function mixture(
  lmLogProbs: Float32Array,
  votes: ReadonlyMap<number, number>,
  lambda: number,
): Float32Array {
  return mix(lmLogProbs, new Votes([...votes.keys()], [...votes.values()]), lambda);
}

/** As `mixture`. @param room (V) written to in place of a new array */
export function mix(
  lmLogProbs: Float32Array,
  { tokens, logProbs }: Votes,
  lambda: number,
  room?: Float32Array,
): Float32Array {
  if (lambda === 0 || tokens.length === 0) return lmLogProbs;
  const out = room ?? new Float32Array(lmLogProbs.length);
  const scale = Math.log1p(-lambda);
  for (let i = 0; i < out.length; i++) out[i] = lmLogProbs[i]! + scale;
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]!;
    out[token] = interpolate(lmLogProbs[token]!, logProbs[i]!, lambda);
  }
  return out;
}

/** The paper's settings for its own corpus (section 4), the defaults of a store that nobody has tuned. */
export const DEFAULT_SETTINGS = { k: 1024, lambda: 0.25, temperature: 1 } as const;

/** Errors: `INVALID_ARGUMENT` with the value seen. */
export function checkSettings(settings: {
  k: number;
  lambda: number;
  temperature: number;
}): typeof settings {
  const { k, lambda, temperature } = settings;
  const refuse = (message: string): never => {
    throw new KnnLMError('INVALID_ARGUMENT', message);
  };
  if (!Number.isInteger(k) || k < 1) refuse(`k must be a whole number of at least 1, not ${k}.`);
  if (!(lambda >= 0 && lambda <= 1)) refuse(`lambda must lie between 0 and 1, not ${lambda}.`);
  if (!(temperature > 0 && temperature < Number.POSITIVE_INFINITY)) {
    refuse(`The kNN temperature must be above 0, not ${temperature}.`);
  }
  return settings;
}
