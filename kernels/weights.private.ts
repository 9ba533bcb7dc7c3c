/** Sums of exponentials over a vocabulary, four at a time. Works in a memory of its thread's own. */

/** Below e^LOWEST nothing counts beside 1; 2^n stays a normal number. */
const LOWEST: f32 = -87;
const LOG2_E: f32 = 1.4426950408889634;
/** ln 2 in two parts: the first times a small integer is exact. */
const LN2_HIGH: f32 = 0.693359375;
const LN2_LOW: f32 = -2.12194440e-4;

/** e^x of four x of at most 0, to a relative error of 2·10⁻⁷: 2^n times the series of the rest, which lies within ln 2 / 2. */
// @ts-ignore: decorator
@inline
function exponentials(x: v128): v128 {
  x = f32x4.max(x, f32x4.splat(LOWEST));
  const n = f32x4.nearest(f32x4.mul(x, f32x4.splat(LOG2_E)));
  let r = f32x4.sub(x, f32x4.mul(n, f32x4.splat(LN2_HIGH)));
  r = f32x4.sub(r, f32x4.mul(n, f32x4.splat(LN2_LOW)));
  let p = f32x4.splat(1.0 / 720);
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 120));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 24));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1.0 / 6));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(0.5));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  p = f32x4.add(f32x4.mul(p, r), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(n), i32x4.splat(127)), 23);
  return f32x4.mul(p, power);
}

/**
 * @param scores (count) f32
 * @param count a multiple of 4
 * @param most the largest of them, or more
 * @returns Σ e^((score - most) · scale), accumulated in double precision
 */
export function sumOfWeights(scores: usize, count: i32, most: f32, scale: f32): f64 {
  const top = f32x4.splat(most);
  const factor = f32x4.splat(scale);
  let low = f64x2.splat(0);
  let high = f64x2.splat(0);
  for (let i = 0; i < count; i += 4, scores += 16) {
    const weights = exponentials(f32x4.mul(f32x4.sub(v128.load(scores), top), factor));
    low = f64x2.add(low, f64x2.promote_low_f32x4(weights));
    high = f64x2.add(high, f64x2.promote_low_f32x4(i32x4.shuffle(weights, weights, 2, 3, 2, 3)));
  }
  const sum = f64x2.add(low, high);
  return f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1);
}
