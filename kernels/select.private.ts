/**
 * Admission over a block of dot products that a matrix product made, four queries at a time, and the choice of a rank.
 * The test is the one of `scan.ts`. Works in a memory of the worker's own: onnxruntime cannot read shared memory.
 */

import { laneOf } from './lib/lane';

/**
 * @param dots (count, columns) i32; with `shift` > 0 column g counts 2^shift and column g + `queries` is added to it
 * @param queries a multiple of 4
 * @param constants (4, queries): slope f32, offset f32, limit f32, correction i32
 * @param found (queries, capacity) pairs: an admitted row's number (u32) and its bound (f32)
 * @param counts (queries) u32 pairs per query, raised here
 */
export function select(
  dots: usize,
  columns: i32,
  count: i32,
  scales: usize,
  biases: usize,
  queries: i32,
  shift: i32,
  constants: usize,
  first: u32,
  found: usize,
  capacity: u32,
  counts: usize,
): void {
  const stride = <usize>columns << 2;
  const part = <usize>queries << 2;
  for (let g = 0; g < queries; g += 4) {
    const at = <usize>g << 2;
    const slopes = v128.load(constants + at);
    const offsets = v128.load(constants + part + at);
    const limits = v128.load(constants + 2 * part + at);
    const corrections = v128.load(constants + 3 * part + at);
    let dot = dots + at;
    for (let i = 0; i < count; i++, dot += stride) {
      let d = v128.load(dot);
      if (shift) d = i32x4.add(i32x4.shl(d, shift), v128.load(dot + part));
      const exact = f32x4.convert_i32x4_s(i32x4.sub(d, corrections));
      const reach = f32x4.add(f32x4.mul(exact, slopes), offsets);
      const row = <usize>i << 2;
      const bound = f32x4.sub(
        v128.load32_splat(biases + row),
        f32x4.mul(v128.load32_splat(scales + row), reach),
      );
      const admitted = f32x4.le(bound, limits);
      if (v128.any_true(admitted)) {
        for (let mask = i32x4.bitmask(admitted); mask; mask &= mask - 1) {
          const lane = ctz(mask);
          const q = <usize>(g + lane);
          const n = load<u32>(counts + (q << 2));
          const pair = found + ((q * <usize>capacity + n) << 3);
          store<u32>(pair, first + i);
          store<f32>(pair, laneOf(bound, lane), 4);
          store<u32>(counts + (q << 2), n + 1);
        }
      }
    }
  }
}

/** Lower bounds, without offset, of queries `query` to `query` + 3: (4, stride) f32 of which `count` are written. */
export function columnBounds(
  dots: usize,
  columns: i32,
  count: i32,
  scales: usize,
  biases: usize,
  queries: i32,
  shift: i32,
  constants: usize,
  query: i32,
  out: usize,
  stride: i32,
): void {
  const dotStride = <usize>columns << 2;
  const part = <usize>queries << 2;
  const at = <usize>query << 2;
  const slopes = v128.load(constants + at);
  const corrections = v128.load(constants + 3 * part + at);
  const line = <usize>stride << 2;
  let dot = dots + at;
  for (let i = 0; i < count; i++, dot += dotStride, out += 4) {
    let d = v128.load(dot);
    if (shift) d = i32x4.add(i32x4.shl(d, shift), v128.load(dot + part));
    const reach = f32x4.mul(f32x4.convert_i32x4_s(i32x4.sub(d, corrections)), slopes);
    const row = <usize>i << 2;
    const bound = f32x4.sub(
      v128.load32_splat(biases + row),
      f32x4.mul(v128.load32_splat(scales + row), reach),
    );
    v128.store32_lane(out, bound, 0);
    v128.store32_lane(out + line, bound, 1);
    v128.store32_lane(out + 2 * line, bound, 2);
    v128.store32_lane(out + 3 * line, bound, 3);
  }
}

export { valueOfRank } from './lib/rank';
