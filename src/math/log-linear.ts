/**
 * Log-linear regression, E[y | x] = exp(w · x + b), by Poisson's quasi-likelihood (McCullagh & Nelder 1989) and Newton's method: for
 * some tens of features. It tells small means apart, where least squares sees the large ones alone.
 */

/** Rows of noise that the penalty is worth. */
const RIDGE = 10;
const MOST_STEPS = 30;
/** A step that lowers the loss of all rows by less is the last. */
const TOLERANCE = 1e-6;
/** exp is cut here. */
const MOST = 20;

/**
 * @param features (m, F) standardized @param values (m) one at least; a few may be below 0
 * @returns (F + 1) weights and a bias, last, all drawn to the mean of the values
 */
export function logLinear(features: Float64Array, values: readonly number[]): Float64Array {
  const m = values.length;
  const n = features.length / m + 1;
  const mean = values.reduce((sum, value) => sum + value, 0) / m;
  const start = new Float64Array(n);
  start[n - 1] = Math.log(Math.max(mean, 1e-3));
  const problem = { features, values, start, n };
  let weights = start;
  let loss = lossOf(problem, weights);
  for (let step = 0; step < MOST_STEPS; step++) {
    const direction = newton(problem, weights);
    let next = weights;
    let nextLoss = loss;
    // Newton's step may be too long where exp is far from its parabola: halved until it descends.
    for (let scale = 1; scale > 1e-4; scale /= 2) {
      const tried = weights.map((weight, i) => weight + scale * direction[i]!);
      const triedLoss = lossOf(problem, tried);
      if (!(triedLoss < nextLoss)) continue;
      next = tried;
      nextLoss = triedLoss;
      break;
    }
    const gained = loss - nextLoss;
    weights = next;
    loss = nextLoss;
    if (gained < TOLERANCE) break;
  }
  return weights;
}

/** Shapes: m rows, n weights with the bias. */
interface Problem {
  /** (m, n - 1) */
  features: Float64Array;
  /** (m) */
  values: readonly number[];
  /** (n) what the weights are drawn to. */
  start: Float64Array;
  n: number;
}

function linear({ features, n }: Problem, weights: Float64Array, row: number): number {
  let sum = weights[n - 1]!;
  for (let f = 0, at = row * (n - 1); f < n - 1; f++, at++) sum += weights[f]! * features[at]!;
  return Math.min(MOST, sum);
}

/** Σ exp(η) - y η, and the penalty. */
function lossOf(problem: Problem, weights: Float64Array): number {
  const { values, start } = problem;
  let loss = 0;
  for (let row = 0; row < values.length; row++) {
    const eta = linear(problem, weights, row);
    loss += Math.exp(eta) - values[row]! * eta;
  }
  for (let i = 0; i < weights.length; i++) loss += (RIDGE / 2) * (weights[i]! - start[i]!) ** 2;
  return loss;
}

/** (n) the inverse Hessian times the descent. */
function newton(problem: Problem, weights: Float64Array): Float64Array {
  const { features, values, start, n } = problem;
  const hessian = new Float64Array(n * n);
  const descent = start.map((own, i) => RIDGE * (own - weights[i]!));
  const x = new Float64Array(n);
  x[n - 1] = 1;
  for (let row = 0; row < values.length; row++) {
    x.set(features.subarray(row * (n - 1), (row + 1) * (n - 1)));
    const mean = Math.exp(linear(problem, weights, row));
    for (let i = 0; i < n; i++) {
      descent[i]! += (values[row]! - mean) * x[i]!;
      const slope = mean * x[i]!;
      for (let j = 0; j <= i; j++) hessian[i * n + j]! += slope * x[j]!;
    }
  }
  for (let i = 0; i < n; i++) hessian[i * n + i]! += RIDGE;
  return solve(hessian, descent, n);
}

/**
 * By Cholesky's factorization.
 * @param a (n, n) symmetric, its lower half read and overwritten @param b (n) overwritten by the solution
 */
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
