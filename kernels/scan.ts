/**
 * One query against a run of 8-bit codes: integer dot products, four keys at a time, and the admission test.
 * A key is admitted when bias - a · (slope · dot + offset) ≤ limit; the constants are made so that no key within the
 * wanted radius can fail (`src/indexes/query-code.ts`). A NaN bias is never admitted: so rows are left out.
 */
import { fourDots } from './lib/dots';
import { laneOf } from './lib/lane';

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
