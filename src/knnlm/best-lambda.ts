/**
 * The best λ without a grid. With r = p_kNN / p_LM of each target the log-likelihood gained over the model alone,
 *
 *     Σ log(λ p_kNN + (1 - λ) p_LM) - Σ log p_LM = Σ log(1 + λ (r - 1)),
 *
 * is concave in λ, so its derivative Σ (r - 1) / (1 + λ (r - 1)) has at most one root: Newton's method, kept inside a
 * bracket by bisection, finds it.
 */

const TOLERANCE = 1e-6;
const MOST_STEPS = 60;

/**
 * @param gains (m) r - 1 of each target, from -1 upwards; 0 where there is nothing to mix
 * @returns λ from 0 to 1
 */
export function bestLambda(gains: Float32Array): number {
  if (slope(gains, 0).first <= 0) return 0;
  if (slope(gains, 1).first >= 0) return 1;
  let low = 0;
  let high = 1;
  let lambda = 0.5;
  for (let step = 0; step < MOST_STEPS && high - low > TOLERANCE; step++) {
    const { first, second } = slope(gains, lambda);
    if (first > 0) low = lambda;
    else high = lambda;
    const newton = lambda - first / second;
    const next = newton > low && newton < high ? newton : (low + high) / 2;
    if (Math.abs(next - lambda) < TOLERANCE) return next;
    lambda = next;
  }
  return lambda;
}

/** First and second derivative of the gain in λ. The hot loop: no logarithm, one division. */
function slope(gains: Float32Array, lambda: number): { first: number; second: number } {
  let first = 0;
  let second = 0;
  for (let i = 0; i < gains.length; i++) {
    const gain = gains[i]!;
    const term = gain / (1 + lambda * gain);
    first += term;
    second -= term * term;
  }
  return { first, second };
}

/** Σ log(1 + λ (r - 1)): nats gained over the model alone, in all. */
export function logGain(gains: Float32Array, lambda: number): number {
  let sum = 0;
  for (let i = 0; i < gains.length; i++) sum += Math.log1p(lambda * gains[i]!);
  return sum;
}
