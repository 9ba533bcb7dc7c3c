/**
 * Keys → 8-bit codes with what is needed to bound every distance error.
 *
 * A key x is centered and brought to unit spread, z = (x - mean) / unit, and coded as z ≈ a · s ⊙ c with one scale
 * s[j] per dimension, one scale a per key and integers |c[j]| ≤ 127. The scale per key means nothing is ever clipped: an
 * outlier spoils only its own code. Stored per key: c + 128 (u8), a (f32) and
 *   bias = ‖a s⊙c‖² - e²,   e = ‖z - a s⊙c‖, rounded down,
 * which together with max(e / a) and max ‖c‖ over all keys give a lower bound of the distance (`src/indexes/query-code.ts`).
 */
import { decodeHalf, decodeHalves } from './lib/half';

/** Rounding of f32 arithmetic below, with room to spare: 16 · 2^-24. */
const SLACK: f64 = 16.0 / 16777216.0;
/** Above this a key's squares could overflow single precision: it is made a candidate of every query instead. */
const HUGE: f32 = 1e15;
const TINY: f32 = 1e-30;

/** Decodes a row of `dim` halves (`isHalf`) or singles into singles. Returns false when one is not finite. */
function decodeRow(row: usize, dim: i32, isHalf: bool, out: usize): bool {
  let j = 0;
  let largest = f32x4.splat(0);
  if (isHalf) {
    for (; j + 8 <= dim; j += 8) {
      const halves = v128.load(row + (<usize>j << 1));
      const low = decodeHalves(i32x4.extend_low_i16x8_u(halves));
      const high = decodeHalves(i32x4.extend_high_i16x8_u(halves));
      largest = f32x4.max(largest, f32x4.max(f32x4.abs(low), f32x4.abs(high)));
      v128.store(out + (<usize>j << 2), low);
      v128.store(out + (<usize>j << 2), high, 16);
    }
  }
  let tail: f32 = 0;
  for (; j < dim; j++) {
    const x = isHalf
      ? decodeHalf(load<u16>(row + (<usize>j << 1)))
      : load<f32>(row + (<usize>j << 2));
    tail = max(tail, abs(x));
    store<f32>(out + (<usize>j << 2), x);
  }
  const top = max(
    max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
    max(max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)), tail),
  );
  // A half's infinity decodes to 65536; NaN fails every comparison.
  return isHalf ? top < 65536 : top <= f32.MAX_VALUE;
}

/** Adds `count` rows to `sums` and `squares` (dim f64 each). Returns how many rows have a value that is not finite. */
export function accumulate(
  rows: usize,
  count: i32,
  dim: i32,
  isHalf: bool,
  sums: usize,
  squares: usize,
  scratch: usize,
): i32 {
  const rowBytes = <usize>dim << (isHalf ? 1 : 2);
  let bad = 0;
  for (let i = 0; i < count; i++) {
    if (!decodeRow(rows + <usize>i * rowBytes, dim, isHalf, scratch)) bad++;
    for (let j = 0; j < dim; j++) {
      const x = <f64>load<f32>(scratch + (<usize>j << 2));
      const at = <usize>j << 3;
      store<f64>(sums + at, load<f64>(sums + at) + x);
      store<f64>(squares + at, load<f64>(squares + at) + x * x);
    }
  }
  return bad;
}

/**
 * Codes `count` rows.
 * @param mean, scale, inverse (padded) f32 each: center, s / 1, 1 / s; padding has inverse 0
 * @param scratch (padded) f32, zeroed beyond dim by the caller
 * @param codes (count, padded) u8; @param scales (count) f32; @param biases (count) f32
 * @param bounds 3 f64, raised to the maxima seen: e / a, ‖c‖² and, summed, a
 * @returns rows with a value that is not finite
 */
export function quantize(
  rows: usize,
  count: i32,
  dim: i32,
  padded: i32,
  isHalf: bool,
  mean: usize,
  inverseUnit: f32,
  scale: usize,
  inverse: usize,
  scratch: usize,
  codes: usize,
  scales: usize,
  biases: usize,
  bounds: usize,
): i32 {
  const rowBytes = <usize>dim << (isHalf ? 1 : 2);
  let bad = 0;
  let worst = load<f64>(bounds);
  let longest = load<f64>(bounds, 8);
  let total = load<f64>(bounds, 16);
  for (let i = 0; i < count; i++) {
    if (!decodeRow(rows + <usize>i * rowBytes, dim, isHalf, scratch)) bad++;
    const unit = f32x4.splat(inverseUnit);
    let largest = f32x4.splat(0);
    for (let j: usize = 0; j < <usize>padded << 2; j += 16) {
      const z = f32x4.mul(f32x4.sub(v128.load(scratch + j), v128.load(mean + j)), unit);
      v128.store(scratch + j, z);
      largest = f32x4.max(largest, f32x4.abs(f32x4.mul(z, v128.load(inverse + j))));
    }
    const top = max(
      max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
      max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
    );
    const row = codes + <usize>i * <usize>padded;
    if (!(top <= HUGE)) {
      memory.fill(row, 128, padded);
      store<f32>(scales + (<usize>i << 2), 0);
      store<f32>(biases + (<usize>i << 2), -f32.MAX_VALUE);
      continue;
    }
    const a: f32 = max(top, TINY) / 127;
    const toCode = f32x4.splat(1 / a);
    const fromCode = f32x4.splat(a);
    let norm = f64x2.splat(0);
    let error = f64x2.splat(0);
    let length = f64x2.splat(0);
    let squares = i32x4.splat(0);
    for (let j: usize = 0; j < <usize>padded << 2; j += 16) {
      const z = v128.load(scratch + j);
      const u = f32x4.mul(f32x4.mul(z, v128.load(inverse + j)), toCode);
      let c = i32x4.trunc_sat_f32x4_s(f32x4.nearest(u));
      c = i32x4.max_s(i32x4.min_s(c, i32x4.splat(127)), i32x4.splat(-127));
      squares = i32x4.add(squares, i32x4.mul(c, c));
      const decoded = f32x4.mul(
        f32x4.mul(f32x4.convert_i32x4_s(c), v128.load(scale + j)),
        fromCode,
      );
      const off = f32x4.sub(z, decoded);
      const d0 = f64x2.promote_low_f32x4(decoded);
      const d1 = f64x2.promote_low_f32x4(i32x4.shuffle(decoded, decoded, 2, 3, 2, 3));
      const o0 = f64x2.promote_low_f32x4(off);
      const o1 = f64x2.promote_low_f32x4(i32x4.shuffle(off, off, 2, 3, 2, 3));
      const z0 = f64x2.promote_low_f32x4(z);
      const z1 = f64x2.promote_low_f32x4(i32x4.shuffle(z, z, 2, 3, 2, 3));
      norm = f64x2.add(norm, f64x2.add(f64x2.mul(d0, d0), f64x2.mul(d1, d1)));
      error = f64x2.add(error, f64x2.add(f64x2.mul(o0, o0), f64x2.mul(o1, o1)));
      length = f64x2.add(length, f64x2.add(f64x2.mul(z0, z0), f64x2.mul(z1, z1)));
      const shifted = i32x4.add(c, i32x4.splat(128));
      const narrow = i16x8.narrow_i32x4_u(shifted, shifted);
      v128.store32_lane(row + (j >> 2), i8x16.narrow_i16x8_u(narrow, narrow), 0);
    }
    const n = f64x2.extract_lane(norm, 0) + f64x2.extract_lane(norm, 1);
    const l = f64x2.extract_lane(length, 0) + f64x2.extract_lane(length, 1);
    const e = sqrt(f64x2.extract_lane(error, 0) + f64x2.extract_lane(error, 1)) + SLACK * sqrt(l);
    const c2 = <f64>(
      i32x4.extract_lane(squares, 0) +
      i32x4.extract_lane(squares, 1) +
      i32x4.extract_lane(squares, 2) +
      i32x4.extract_lane(squares, 3)
    );
    worst = max(worst, e / <f64>a);
    longest = max(longest, c2);
    total += <f64>a;
    store<f32>(scales + (<usize>i << 2), a);
    store<f32>(biases + (<usize>i << 2), <f32>(n - e * e - SLACK * (n + e * e)));
  }
  store<f64>(bounds, worst);
  store<f64>(bounds, longest, 8);
  store<f64>(bounds, total, 16);
  return bad;
}
