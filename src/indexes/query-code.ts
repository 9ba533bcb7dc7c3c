/**
 * A query in integers, and the admission test that makes a scan of 8-bit codes exact.
 *
 * With z = (x - mean) / unit ≈ a s⊙c (`kernels/quantize.ts`) and w = z(query) ⊙ s rounded to t·p with integers p,
 * the triangle inequality on ‖z - a s⊙c‖ ≤ e ≤ a·E and Cauchy-Schwarz on the rounding of w give: a key whose true
 * distance is at most R satisfies
 *   bias - a · (2t · p·c + 2‖w - t p‖ C + 2 R E) ≤ R² - ‖z(query)‖²,   C = max ‖c‖, E = max e / a.
 * So whatever fails the test is farther than R (the lower bound of a VA-file, Weber et al. 1998, § 4). What passes is
 * ranked by exact distances. Single precision's rounding is paid for by `SLACK`.
 */

/** What the codes of all keys have in common. */
export interface CodeSpace {
  /** d */
  dim: number;
  /** (d) center of the keys. */
  mean: Float32Array;
  /** (d) s */
  scale: Float32Array;
  /** Length of the coded space's unit in the keys' own units. */
  unit: number;
  /** E */
  worstError: number;
  /** C */
  longestCode: number;
  /** Mean of a. */
  meanScale: number;
}

/** How large the integers of a query may be. */
export interface IntegerRange {
  /** Largest |p|. */
  most: number;
  /** Largest Σ|p| that cannot overflow 32 bits against codes up to 255. */
  mostSum: number;
}

export interface QueryCode {
  /** (d) p */
  integers: Int16Array;
  /** t */
  step: number;
  /** ‖w - t p‖ */
  rounding: number;
  /** ‖w‖ */
  weight: number;
  /** ‖z(query)‖² */
  norm: number;
  /** 128 · Σ p: what storing c + 128 adds to every dot product. */
  correction: number;
}

/** Constants of the test for one query and one radius. */
export interface Admission {
  slope: number;
  offset: number;
  limit: number;
}

/** 32 roundings of single precision, about three times what the kernels make. */
const SLACK = 32 / 2 ** 24;
/** Beyond this a product could overflow single precision; then every key is admitted. */
const HUGE = 1e18;

export function encodeQuery(
  query: Float32Array,
  space: CodeSpace,
  { most, mostSum }: IntegerRange,
): QueryCode {
  const { dim, mean, scale, unit } = space;
  const w = new Float64Array(dim);
  let norm = 0;
  let weight = 0;
  let largest = 0;
  let sum = 0;
  for (let j = 0; j < dim; j++) {
    const z = (query[j]! - mean[j]!) / unit;
    norm += z * z;
    w[j] = z * scale[j]!;
    weight += w[j]! * w[j]!;
    sum += Math.abs(w[j]!);
    largest = Math.max(largest, Math.abs(w[j]!));
  }
  // Rounding adds at most 1/2 to each |p|.
  const step = Math.max(largest / most, sum / (mostSum - dim));
  const integers = new Int16Array(dim);
  let rounding = 0;
  let correction = 0;
  for (let j = 0; j < dim && step > 0; j++) {
    const p = Math.round(w[j]! / step);
    integers[j] = p;
    correction += p;
    rounding += (w[j]! - step * p) ** 2;
  }
  return {
    integers,
    step,
    rounding: Math.sqrt(rounding),
    weight: Math.sqrt(weight),
    norm,
    correction: 128 * correction,
  };
}

/** The test that no key within squared distance `radius2` (in the keys' own units) can fail. */
export function admission(code: QueryCode, space: CodeSpace, radius2: number): Admission {
  const { unit, worstError, longestCode } = space;
  const square = radius2 / unit / unit;
  const reach = (code.weight + code.rounding) * longestCode;
  const offset =
    2 * (code.rounding * longestCode + Math.sqrt(square) * worstError) * (1 + SLACK) +
    2 * SLACK * reach;
  const limit = square - code.norm + SLACK * (square + code.norm);
  const limited = square < HUGE && code.norm < HUGE && offset < HUGE && reach < HUGE;
  if (limited) return { slope: 2 * code.step, offset, limit };
  // Even then bounds are computed, where they can be: they say which rows to rank first.
  const slope = code.norm < HUGE && reach < HUGE ? 2 * code.step : 0;
  return { slope, offset: 0, limit: Number.POSITIVE_INFINITY };
}

/** The largest squared distance that single precision could still round to `distance`: ties must be admitted too. */
export function withTies(distance: number): number {
  return distance * (1 + 2 ** -22) + 2 ** -148;
}
