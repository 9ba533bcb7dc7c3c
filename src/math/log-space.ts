/** Probabilities in log space. Zero is -Infinity; sums never leave it through NaN. */

/** log(eᵃ + eᵇ), exact when either is -Infinity. */
export function logAddExp(a: number, b: number): number {
  if (a === Number.NEGATIVE_INFINITY) return b;
  if (b === Number.NEGATIVE_INFINITY) return a;
  return a > b ? a + Math.log1p(Math.exp(b - a)) : b + Math.log1p(Math.exp(a - b));
}

/** log Σ exp(values[i]) over [start, end); -Infinity for an empty range. Accumulates in float64. */
export function logSumExp(values: ArrayLike<number>, start = 0, end = values.length): number {
  let max = Number.NEGATIVE_INFINITY;
  for (let i = start; i < end; i++) if (values[i]! > max) max = values[i]!;
  if (max === Number.NEGATIVE_INFINITY || max === Number.POSITIVE_INFINITY) return max;
  let sum = 0;
  for (let i = start; i < end; i++) sum += Math.exp(values[i]! - max);
  return max + Math.log(sum);
}
