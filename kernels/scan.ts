/**
 * One query against a run of 8-bit codes: integer dot products, four keys at a time, and the admission test.
 * A key is admitted when bias - a · (slope · dot + offset) ≤ limit; the constants are made so that no key within the
 * wanted radius can fail (`src/indexes/query-code.ts`). A NaN bias is never admitted: so rows are left out.
 */
import { laneOf } from './lib/lane';

// @ts-ignore: decorator
@inline
function step(sum: v128, code: v128, q0: v128, q1: v128): v128 {
  return i32x4.add(
    sum,
    i32x4.add(
      i32x4.dot_i16x8_s(i16x8.extend_low_i8x16_u(code), q0),
      i32x4.dot_i16x8_s(i16x8.extend_high_i8x16_u(code), q1),
    ),
  );
}

/** Lane i of the result is the sum of the lanes of argument i. */
// @ts-ignore: decorator
@inline
function sumLanes(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = i32x4.add(i32x4.shuffle(a, b, 0, 4, 1, 5), i32x4.shuffle(a, b, 2, 6, 3, 7));
  const cd = i32x4.add(i32x4.shuffle(c, d, 0, 4, 1, 5), i32x4.shuffle(c, d, 2, 6, 3, 7));
  return i32x4.add(i64x2.shuffle(ab, cd, 0, 2), i64x2.shuffle(ab, cd, 1, 3));
}

/**
 * Dot products of the four rows at `row`, `width` bytes apart, with the code's offset of 128 taken out. Two rows at a time:
 * four streams defeat the processor's prefetcher (20 ns per key of 256 from memory, against 9; 7 from cache, both).
 */
// @ts-ignore: decorator
@inline
function fourDots(row: usize, width: usize, query: usize, correction: v128): v128 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  const row1 = row + width;
  const row2 = row1 + width;
  const row3 = row2 + width;
  for (let j: usize = 0; j < width; j += 16) {
    const q0 = v128.load(query + (j << 1));
    const q1 = v128.load(query + (j << 1), 16);
    a = step(a, v128.load(row + j), q0, q1);
    b = step(b, v128.load(row1 + j), q0, q1);
  }
  for (let j: usize = 0; j < width; j += 16) {
    const q0 = v128.load(query + (j << 1));
    const q1 = v128.load(query + (j << 1), 16);
    c = step(c, v128.load(row2 + j), q0, q1);
    d = step(d, v128.load(row3 + j), q0, q1);
  }
  return i32x4.sub(sumLanes(a, b, c, d), correction);
}

/**
 * @param codes (count, width) u8, readable to the next multiple of 4 rows; biases beyond count must be NaN or ignored
 * @param query (width) i16 with 255 · Σ|query| < 2^31; @param correction 128 · Σ query
 * @param out (count + 4) pairs: an admitted row's number `first` + i (u32) and its bound (f32)
 * @returns how many were admitted
 */
export function scan(
  codes: usize,
  scales: usize,
  biases: usize,
  count: i32,
  width: i32,
  query: usize,
  correction: i32,
  slope: f32,
  offset: f32,
  limit: f32,
  first: u32,
  out: usize,
): i32 {
  const correct = i32x4.splat(correction);
  const slopes = f32x4.splat(slope);
  const offsets = f32x4.splat(offset);
  const limits = f32x4.splat(limit);
  const start = out;
  for (let i = 0; i < count; i += 4) {
    const dots = fourDots(codes + <usize>i * <usize>width, width, query, correct);
    const reach = f32x4.add(f32x4.mul(f32x4.convert_i32x4_s(dots), slopes), offsets);
    const at = <usize>i << 2;
    const bound = f32x4.sub(v128.load(biases + at), f32x4.mul(v128.load(scales + at), reach));
    let mask = i32x4.bitmask(f32x4.le(bound, limits));
    if (mask) {
      if (count - i < 4) mask &= (1 << (count - i)) - 1;
      for (; mask; mask &= mask - 1) {
        const lane = ctz(mask);
        store<u32>(out, first + i + lane);
        store<f32>(out, laneOf(bound, lane), 4);
        out += 8;
      }
    }
  }
  return <i32>((out - start) >> 3);
}

/** Lower bounds of `count` rows, as `scan` computes them, into `out` (count rounded up to 4) f32. */
export function bounds(
  codes: usize,
  scales: usize,
  biases: usize,
  count: i32,
  width: i32,
  query: usize,
  correction: i32,
  slope: f32,
  out: usize,
): void {
  const correct = i32x4.splat(correction);
  for (let i = 0; i < count; i += 4) {
    const dots = fourDots(codes + <usize>i * <usize>width, width, query, correct);
    const reach = f32x4.mul(f32x4.convert_i32x4_s(dots), f32x4.splat(slope));
    const at = <usize>i << 2;
    v128.store(out + at, f32x4.sub(v128.load(biases + at), f32x4.mul(v128.load(scales + at), reach)));
  }
}

/** Reads `bytes` (a multiple of 64) and does next to nothing with them: the floor under any scan, for the benchmark. */
export function readAll(at: usize, bytes: usize): i32 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  for (const end = at + bytes; at < end; at += 64) {
    a = i32x4.add(a, v128.load(at));
    b = i32x4.add(b, v128.load(at, 16));
    c = i32x4.add(c, v128.load(at, 32));
    d = i32x4.add(d, v128.load(at, 48));
  }
  const sum = i32x4.add(i32x4.add(a, b), i32x4.add(c, d));
  return i32x4.extract_lane(sum, 0) ^ i32x4.extract_lane(sum, 3);
}

export { valueOfRank } from './lib/rank';
