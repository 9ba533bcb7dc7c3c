/** Ridge regression (Hoerl & Kennard 1970) by the normal equations and Cholesky's factorization: for some tens of features. */

/** Rows of noise that the penalty is worth. */
const RIDGE = 10;

/**
 * @param features (m, F) standardized @param values (m) one at least
 * @returns (F + 1) weights and a bias, which is not penalized, last
 */
export function ridge(features: Float64Array, values: readonly number[]): Float64Array {
  const m = values.length;
  const width = features.length / m;
  const n = width + 1;
  const matrix = new Float64Array(n * n);
  const right = new Float64Array(n);
  const row = new Float64Array(n);
  row[width] = 1;
  for (let at = 0; at < m; at++) {
    row.set(features.subarray(at * width, (at + 1) * width));
    for (let i = 0; i < n; i++) {
      right[i]! += row[i]! * values[at]!;
      for (let j = 0; j <= i; j++) matrix[i * n + j]! += row[i]! * row[j]!;
    }
  }
  for (let i = 0; i < width; i++) matrix[i * n + i]! += RIDGE;
  return solve(matrix, right, n);
}

/** @param a (n, n) symmetric, its lower half read and overwritten @param b (n) overwritten by the solution */
function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j]!;
      for (let k = 0; k < j; k++) sum -= a[i * n + k]! * a[j * n + k]!;
      a[i * n + j] = i === j ? Math.sqrt(sum) : sum / a[j * n + j]!;
    }
  }
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) b[i]! -= a[i * n + k]! * b[k]!;
    b[i]! /= a[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) b[i]! -= a[k * n + i]! * b[k]!;
    b[i]! /= a[i * n + i]!;
  }
  return b;
}
