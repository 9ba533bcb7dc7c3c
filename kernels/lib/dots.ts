/** Integer dot products of 8-bit codes with one 16-bit query, four rows at a time. */

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
export function fourDots(row: usize, width: usize, query: usize, correction: v128): v128 {
  return fourDotsOf(row, row + width, row + 2 * width, row + 3 * width, width, query, correction);
}

/** The same of rows anywhere. */
// @ts-ignore: decorator
@inline
export function fourDotsOf(
  row0: usize,
  row1: usize,
  row2: usize,
  row3: usize,
  width: usize,
  query: usize,
  correction: v128,
): v128 {
  let a = i32x4.splat(0);
  let b = i32x4.splat(0);
  let c = i32x4.splat(0);
  let d = i32x4.splat(0);
  for (let j: usize = 0; j < width; j += 16) {
    const q0 = v128.load(query + (j << 1));
    const q1 = v128.load(query + (j << 1), 16);
    a = step(a, v128.load(row0 + j), q0, q1);
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
