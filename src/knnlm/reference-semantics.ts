/**
 * The arithmetic of the two codes that published kNN-LM numbers come from, where it differs from ours: for scores that are to be
 * held against theirs. Ours keeps -Infinity and double precision.
 */
import { floatsToHalf, halfToFloats } from '../math/half.ts';
import { interpolate } from './interpolate.ts';

/**
 * `exact`: ours. `knn-transformers` (neulab): single precision, -10,000 for a token that no neighbor votes for. `fairseq`
 * (urvashik/knnlm under --fp16): both log-probabilities are rounded to half precision and mixed in it, which shows in the third
 * decimal of a perplexity.
 */
export const SEMANTICS = ['exact', 'knn-transformers', 'fairseq'] as const;
export type Semantics = (typeof SEMANTICS)[number];

/** What both write for the logarithm of 0. */
const FLOOR = -10_000;

/** log(λ p_kNN + (1 - λ) p_LM) of one token, as a reference code computes it. */
export function interpolateAs(
  semantics: Semantics,
  { lm, knn, lambda }: { lm: number; knn: number; lambda: number },
): number {
  // Their logarithm of a weight of 0 is -Infinity, with the result that is ours anyway.
  if (semantics === 'exact' || lambda === 0 || lambda === 1) return interpolate(lm, knn, lambda);
  const floored = Math.max(knn, FLOOR);
  if (semantics === 'knn-transformers') {
    const a = Math.fround(Math.fround(lm) + Math.fround(Math.log(1 - lambda)));
    const b = Math.fround(Math.fround(floored) + Math.fround(Math.log(lambda)));
    const most = Math.max(a, b);
    return Math.fround(most + Math.log1p(Math.exp(-Math.abs(a - b))));
  }
  const a = half(half(lm) + half(Math.log(1 - lambda)));
  const b = half(half(floored) + half(Math.log(lambda)));
  const most = Math.max(a, b);
  const sum = half(half(Math.exp(half(a - most))) + half(Math.exp(half(b - most))));
  return half(most + half(Math.log(sum)));
}

const single = new Float32Array(1);
const bits = new Uint16Array(1);

/** The nearest number of half precision; beyond its range the value as it is. */
function half(value: number): number {
  single[0] = value;
  if (floatsToHalf(bits, single) >= 0) return value;
  halfToFloats(single, bits);
  return single[0]!;
}
