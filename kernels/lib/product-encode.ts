/** Learning and making product codes (`product-codes.ts` says what they are): rotation, residuals, the nearest words. */
import { sumLanes } from './sum-lanes';

/**
 * Products of a matrix with some vectors, four at a time while there are: the same bits as one at a time.
 * @param matrix (rows, width) f32, width a multiple of 4; @param vectors (count, width) f32; @param out (count, rows) f32
 */
export function rotate(
  matrix: usize,
  rows: i32,
  width: i32,
  vectors: usize,
  count: i32,
  out: usize,
): void {
  const bytes = <usize>width << 2;
  const outBytes = <usize>rows << 2;
  let i = 0;
  for (; i + 4 <= count; i += 4) {
    let line = matrix;
    for (let r: usize = 0; r < outBytes; r += 4, line += bytes) {
      let a = f32x4.splat(0);
      let b = f32x4.splat(0);
      let c = f32x4.splat(0);
      let d = f32x4.splat(0);
      for (let j: usize = 0; j < bytes; j += 16) {
        const weight = v128.load(line + j);
        const vector = vectors + j;
        a = f32x4.add(a, f32x4.mul(weight, v128.load(vector)));
        b = f32x4.add(b, f32x4.mul(weight, v128.load(vector + bytes)));
        c = f32x4.add(c, f32x4.mul(weight, v128.load(vector + 2 * bytes)));
        d = f32x4.add(d, f32x4.mul(weight, v128.load(vector + 3 * bytes)));
      }
      const to = out + r;
      store<f32>(to, sumLanes(a));
      store<f32>(to + outBytes, sumLanes(b));
      store<f32>(to + 2 * outBytes, sumLanes(c));
      store<f32>(to + 3 * outBytes, sumLanes(d));
    }
    vectors += 4 * bytes;
    out += 4 * outBytes;
  }
  for (; i < count; i++, vectors += bytes, out += outBytes) {
    let line = matrix;
    for (let r: usize = 0; r < outBytes; r += 4, line += bytes) {
      let a = f32x4.splat(0);
      for (let j: usize = 0; j < bytes; j += 16) {
        a = f32x4.add(a, f32x4.mul(v128.load(line + j), v128.load(vectors + j)));
      }
      store<f32>(out + r, sumLanes(a));
    }
  }
}

/**
 * Rows as their 8-bit codes decode (`kernels/quantize.ts`), from a center.
 * @param codes (count, width) u8; @param scales (count) f32; @param scale, center (width) f32; @param out (count, width) f32
 */
export function residuals(
  codes: usize,
  scales: usize,
  count: i32,
  width: i32,
  scale: usize,
  center: usize,
  out: usize,
): void {
  for (let i = 0; i < count; i++) {
    const a = v128.load32_splat(scales + (<usize>i << 2));
    for (let j: usize = 0; j < <usize>width; j += 4) {
      const bytes = i16x8.extend_low_i8x16_u(v128.load32_zero(codes + j));
      const c = i32x4.sub(i32x4.extend_low_i16x8_u(bytes), i32x4.splat(128));
      const at = j << 2;
      const z = f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(c), v128.load(scale + at)), a);
      v128.store(out + at, f32x4.sub(z, v128.load(center + at)));
    }
    codes += width;
    out += <usize>width << 2;
  }
}

/** Adds the products of every two numbers of each row: (width, width) f32, width a multiple of 4. */
export function addProducts(rows: usize, count: i32, width: i32, sums: usize): void {
  const bytes = <usize>width << 2;
  for (let i = 0; i < count; i++, rows += bytes) {
    let line = sums;
    for (let r: usize = 0; r < bytes; r += 4, line += bytes) {
      const x = v128.load32_splat(rows + r);
      for (let j = r & ~15; j < bytes; j += 16) {
        v128.store(line + j, f32x4.add(v128.load(line + j), f32x4.mul(x, v128.load(rows + j))));
      }
    }
  }
}

/**
 * The nearest word of every sub-vector, by ‖word‖² / 2 - ⟨sub-vector, word⟩; of equal ones the first.
 * @param rows (count, m · part) f32; @param halves (m, words) f32 ‖word‖² / 2; @param codes (count, m) u8
 */
export function encodeProducts(
  rows: usize,
  count: i32,
  m: i32,
  part: i32,
  words: i32,
  books: usize,
  halves: usize,
  codes: usize,
): void {
  const line = <usize>words << 2;
  const partBytes = <usize>part << 2;
  const first = v128(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
  for (let i = 0; i < count; i++) {
    let book = books;
    let half = halves;
    for (let s = 0; s < m; s++) {
      let least = f32x4.splat(f32.MAX_VALUE);
      let where = i32x4.splat(0);
      let index = first;
      for (let w: usize = 0; w < line; w += 64) {
        let a = v128.load(half + w);
        let b = v128.load(half + w, 16);
        let c = v128.load(half + w, 32);
        let d = v128.load(half + w, 48);
        let word = book + w;
        for (let j: usize = 0; j < partBytes; j += 4, word += line) {
          const x = v128.load32_splat(rows + j);
          a = f32x4.sub(a, f32x4.mul(x, v128.load(word)));
          b = f32x4.sub(b, f32x4.mul(x, v128.load(word, 16)));
          c = f32x4.sub(c, f32x4.mul(x, v128.load(word, 32)));
          d = f32x4.sub(d, f32x4.mul(x, v128.load(word, 48)));
        }
        let better = f32x4.lt(a, least);
        least = v128.bitselect(a, least, better);
        where = v128.bitselect(index, where, better);
        index = i32x4.add(index, i32x4.splat(4));
        better = f32x4.lt(b, least);
        least = v128.bitselect(b, least, better);
        where = v128.bitselect(index, where, better);
        index = i32x4.add(index, i32x4.splat(4));
        better = f32x4.lt(c, least);
        least = v128.bitselect(c, least, better);
        where = v128.bitselect(index, where, better);
        index = i32x4.add(index, i32x4.splat(4));
        better = f32x4.lt(d, least);
        least = v128.bitselect(d, least, better);
        where = v128.bitselect(index, where, better);
        index = i32x4.add(index, i32x4.splat(4));
      }
      store<u8>(codes + s, nearestLane(least, where));
      book += partBytes * <usize>words;
      half += line;
      rows += partBytes;
    }
    codes += m;
  }
}

// @ts-ignore: decorator
@inline
function nearestLane(least: v128, where: v128): u32 {
  v128.store(0, least);
  v128.store(16, where);
  let low = load<f32>(0);
  let winner = load<u32>(16);
  for (let lane: usize = 4; lane < 16; lane += 4) {
    const score = load<f32>(lane);
    const index = load<u32>(16 + lane);
    if (score < low || (score == low && index < winner)) {
      low = score;
      winner = index;
    }
  }
  return winner;
}
