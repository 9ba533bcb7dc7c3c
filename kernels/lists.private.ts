/**
 * Inverted lists: estimates of squared distances from 8-bit codes, the choice of the nearest, and the assignment of keys
 * to centroids. A coded row stands for ‖z - w‖² ≈ bias + norm - a · slope · (dot - correction), in the code's own unit
 * (`kernels/quantize.ts` has z, a and c); a NaN bias is farther than anything. One query at a time and many at a time do
 * the same arithmetic in the same order, so both give the same bits.
 *
 * Found rows are pairs (u32 id, bits of the f32 estimate): as little-endian u64 they order by distance, then by id.
 */
import { fourDots, fourDotsOf } from './lib/dots';

export { distances } from './distance';
export {
  collectProductBlocks,
  collectProductCodes,
  decodeGaps,
  innerProduct,
  narrowTables,
  productTables,
  sumTables,
} from './lib/product-codes';
export { addProducts, encodeProducts, residuals, rotate } from './lib/product-encode';
export { rotated, sketched, sketchRows, sketchTables } from './lib/sketch';
export { accumulate, quantize } from './quantize';

// @ts-ignore: decorator
@inline
function estimate(dots: v128, slope: v128, norm: v128, scale: v128, bias: v128): v128 {
  const reach = f32x4.mul(f32x4.mul(f32x4.convert_i32x4_s(dots), slope), scale);
  return f32x4.max(f32x4.sub(f32x4.add(bias, norm), reach), f32x4.splat(0));
}

/**
 * Pairs of the rows estimated within `limit` of one query.
 * @param codes (count, width) u8, and rows to the next multiple of 4 with NaN biases
 * @param ids (count) u32; @param query (width) i16; @param out room for count pairs
 * @returns how many
 */
export function collect(
  codes: usize,
  scales: usize,
  biases: usize,
  ids: usize,
  count: i32,
  width: i32,
  query: usize,
  correction: i32,
  slope: f32,
  norm: f32,
  limit: f32,
  out: usize,
): i32 {
  const correct = i32x4.splat(correction);
  const slopes = f32x4.splat(slope);
  const norms = f32x4.splat(norm);
  const limits = f32x4.splat(limit);
  const start = out;
  for (let i = 0; i < count; i += 4) {
    const dots = fourDots(codes + <usize>i * <usize>width, width, query, correct);
    const at = <usize>i << 2;
    const found = estimate(dots, slopes, norms, v128.load(scales + at), v128.load(biases + at));
    for (let mask = i32x4.bitmask(f32x4.le(found, limits)); mask; mask &= mask - 1) {
      const lane = <usize>ctz(mask) << 2;
      v128.store(0, found, 0);
      store<u32>(out, load<u32>(ids + at + lane));
      store<u32>(out, load<u32>(lane), 4);
      out += 8;
    }
  }
  return <i32>((out - start) >> 3);
}

/**
 * `collect` over some rows of a list, by their numbers.
 * @param rows (count) u32
 */
export function collectRows(
  codes: usize,
  scales: usize,
  biases: usize,
  ids: usize,
  width: i32,
  rows: usize,
  count: i32,
  query: usize,
  correction: i32,
  slope: f32,
  norm: f32,
  limit: f32,
  out: usize,
): i32 {
  const correct = i32x4.splat(correction);
  const slopes = f32x4.splat(slope);
  const norms = f32x4.splat(norm);
  const limits = f32x4.splat(limit);
  const start = out;
  let touched = i32x4.splat(0);
  for (let i = 0; i < count; i += 4) {
    const at = rows + (<usize>i << 2);
    const last = count - 1 - i;
    // The next rows are on their way while these are compared.
    for (let j = min(4, last + 1); j < min(8, last + 1); j++) {
      const next = codes + <usize>load<u32>(at + (<usize>j << 2)) * <usize>width;
      for (let byte: usize = 0; byte < <usize>width; byte += 64) {
        touched = v128.or(touched, v128.load(next + byte));
      }
    }
    const row0 = <usize>load<u32>(at);
    const row1 = <usize>load<u32>(at + (<usize>min(1, last) << 2));
    const row2 = <usize>load<u32>(at + (<usize>min(2, last) << 2));
    const row3 = <usize>load<u32>(at + (<usize>min(3, last) << 2));
    const dots = fourDotsOf(
      codes + row0 * <usize>width,
      codes + row1 * <usize>width,
      codes + row2 * <usize>width,
      codes + row3 * <usize>width,
      width,
      query,
      correct,
    );
    const scale = gather(scales, row0, row1, row2, row3);
    const bias = gather(biases, row0, row1, row2, row3);
    const found = estimate(dots, slopes, norms, scale, bias);
    let mask = i32x4.bitmask(f32x4.le(found, limits));
    if (last < 3) mask &= (1 << (last + 1)) - 1;
    // Without branches: which rows are near enough cannot be foretold, and is known late.
    v128.store(0, found);
    v128.store(16, gather(ids, row0, row1, row2, row3));
    for (let lane: usize = 0; lane < 16; lane += 4, mask >>= 1) {
      store<u32>(out, load<u32>(16 + lane));
      store<u32>(out, load<u32>(lane), 4);
      out += <usize>(mask & 1) << 3;
    }
  }
  v128.store(0, touched);
  return <i32>((out - start) >> 3);
}

/** Four numbers of a column of f32. */
// @ts-ignore: decorator
@inline
function gather(column: usize, a: usize, b: usize, c: usize, d: usize): v128 {
  let four = v128.load32_zero(column + (a << 2));
  four = v128.load32_lane(column + (b << 2), four, 1);
  four = v128.load32_lane(column + (c << 2), four, 2);
  return v128.load32_lane(column + (d << 2), four, 3);
}

/** Dot products of four columns of one row: high digits count 2^shift, low digits lie `part` bytes behind. */
// @ts-ignore: decorator
@inline
function twoDigits(dots: usize, part: usize, shift: i32, corrections: v128): v128 {
  return i32x4.sub(
    i32x4.add(i32x4.shl(v128.load(dots), shift), v128.load(dots + part)),
    corrections,
  );
}

/**
 * `collect` over a block of products, four queries at a time.
 * @param dots (count, 2 · lanes) i32: high digits of all queries, then low ones; @param lanes a multiple of 4
 * @param constants (5, lanes): slope f32, norm f32, limit f32, correction i32, slot u32 of the query's room
 * @param out (slots, capacity) pairs; @param counts (slots) u32 how many, raised here
 */
export function collectProducts(
  dots: usize,
  lanes: i32,
  shift: i32,
  scales: usize,
  biases: usize,
  ids: usize,
  count: i32,
  constants: usize,
  out: usize,
  capacity: u32,
  counts: usize,
): void {
  const part = <usize>lanes << 2;
  const stride = part << 1;
  for (let g: usize = 0; g < part; g += 16) {
    const slopes = v128.load(constants + g);
    const norms = v128.load(constants + part + g);
    const limits = v128.load(constants + 2 * part + g);
    const corrections = v128.load(constants + 3 * part + g);
    let dot = dots + g;
    for (let i = 0; i < count; i++, dot += stride) {
      const at = <usize>i << 2;
      const found = estimate(
        twoDigits(dot, part, shift, corrections),
        slopes,
        norms,
        v128.load32_splat(scales + at),
        v128.load32_splat(biases + at),
      );
      for (let mask = i32x4.bitmask(f32x4.le(found, limits)); mask; mask &= mask - 1) {
        const lane = <usize>ctz(mask) << 2;
        const slot = <usize>load<u32>(constants + 4 * part + g + lane);
        const n = load<u32>(counts + (slot << 2));
        const to = out + ((slot * <usize>capacity + <usize>n) << 3);
        v128.store(0, found, 0);
        store<u32>(to, load<u32>(ids + at));
        store<u32>(to, load<u32>(lane), 4);
        store<u32>(counts + (slot << 2), n + 1);
      }
    }
  }
}

/**
 * The columns of some queries, side by side: the matrix of a product.
 * @param from (d, columns) i8; @param picks (lanes) u32 column numbers; @param half added for the low digits
 * @param out (d, 2 · lanes) i8
 */
export function gatherColumns(
  from: usize,
  d: i32,
  columns: i32,
  picks: usize,
  lanes: i32,
  half: i32,
  out: usize,
): void {
  for (let j = 0; j < d; j++, from += columns, out += lanes << 1) {
    for (let q = 0; q < lanes; q++) {
      const column = from + <usize>load<u32>(picks + (<usize>q << 2));
      store<u8>(out + q, load<u8>(column));
      store<u8>(out + lanes + q, load<u8>(column + half));
    }
  }
}

/** Reorders `count` u64 so that the `keep` smallest come first (Hoare 1961); returns the estimate of the last of them. */
export function keepNearest(pairs: usize, count: i32, keep: i32): f32 {
  const rank = keep - 1;
  let low = 0;
  let high = count - 1;
  while (low < high) {
    const pivot = load<u64>(pairs + (<usize>((low + high) >> 1) << 3));
    let i = low;
    let j = high;
    while (i <= j) {
      while (load<u64>(pairs + (<usize>i << 3)) < pivot) i++;
      while (load<u64>(pairs + (<usize>j << 3)) > pivot) j--;
      if (i <= j) {
        const a = pairs + (<usize>i << 3);
        const b = pairs + (<usize>j << 3);
        const x = load<u64>(a);
        store<u64>(a, load<u64>(b));
        store<u64>(b, x);
        i++;
        j--;
      }
    }
    if (rank <= j) high = j;
    else if (rank >= i) low = i;
    else break;
  }
  return load<f32>(pairs + (<usize>rank << 3), 4);
}

/** Digit of 11 bits of a pair's estimate; the estimate is not negative, so 31 bits are all it has. */
// @ts-ignore: decorator
@inline
function digit(pair: u64, shift: u64): usize {
  return <usize>((pair >> shift) & 2047) << 2;
}

/**
 * Sorts `count` u64 by estimate, then id: a radix sort by three digits of 11 bits of the estimate (Knuth 5.2.5), and an
 * insertion sort that only has to move pairs of equal estimates.
 * @param scratch room for `count` pairs; @param table 2048 u32
 */
export function sortPairs(pairs: usize, count: i32, scratch: usize, table: usize): void {
  const bytes = <usize>count << 3;
  for (let shift: u64 = 32; shift < 64; shift += 11) {
    memory.fill(table, 0, 8192);
    for (let at: usize = 0; at < bytes; at += 8) {
      const slot = table + digit(load<u64>(pairs + at), shift);
      store<u32>(slot, load<u32>(slot) + 8);
    }
    let end: u32 = 0;
    for (let slot = table; slot < table + 8192; slot += 4) {
      const start = end;
      end += load<u32>(slot);
      store<u32>(slot, start);
    }
    for (let at: usize = 0; at < bytes; at += 8) {
      const pair = load<u64>(pairs + at);
      const slot = table + digit(pair, shift);
      const to = load<u32>(slot);
      store<u64>(scratch + <usize>to, pair);
      store<u32>(slot, to + 8);
    }
    memory.copy(pairs, scratch, bytes);
  }
  for (let at: usize = 8; at < bytes; at += 8) {
    const pair = load<u64>(pairs + at);
    let to = at;
    for (; to > 0 && load<u64>(pairs + to - 8) > pair; to -= 8) {
      store<u64>(pairs + to, load<u64>(pairs + to - 8));
    }
    store<u64>(pairs + to, pair);
  }
}

/**
 * Nearest of a block of centroids for each row, by ‖w‖² - a · slope · (dot - correction).
 * @param dots (count, columns) i32; @param columns a multiple of 4
 * @param constants (3, columns): ‖w‖² f32, slope f32, correction i32
 * @param best (count) f32 and @param which (count) u32, lowered here; @param first number of column 0
 */
export function nearest(
  dots: usize,
  count: i32,
  columns: i32,
  scales: usize,
  constants: usize,
  first: u32,
  best: usize,
  which: usize,
): void {
  const part = <usize>columns << 2;
  for (let i = 0; i < count; i++) {
    const scale = v128.load32_splat(scales + (<usize>i << 2));
    let least = f32x4.splat(f32.MAX_VALUE);
    let where = i32x4.splat(0);
    let index = v128(0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0);
    for (let g: usize = 0; g < part; g += 16) {
      const exact = i32x4.sub(v128.load(dots + g), v128.load(constants + 2 * part + g));
      const reach = f32x4.mul(
        f32x4.mul(f32x4.convert_i32x4_s(exact), v128.load(constants + part + g)),
        scale,
      );
      const score = f32x4.sub(v128.load(constants + g), reach);
      const better = f32x4.lt(score, least);
      least = v128.bitselect(score, least, better);
      where = v128.bitselect(index, where, better);
      index = i32x4.add(index, i32x4.splat(4));
    }
    v128.store(0, least);
    v128.store(16, where);
    const at = <usize>i << 2;
    let low = load<f32>(best + at);
    let winner = load<u32>(which + at);
    for (let lane: usize = 0; lane < 16; lane += 4) {
      const score = load<f32>(lane);
      const column = load<u32>(16 + lane) + first;
      if (score < low || (score == low && column < winner)) {
        low = score;
        winner = column;
      }
    }
    store<f32>(best + at, low);
    store<u32>(which + at, winner);
    dots += part;
  }
}

/** Adds each row, as its code decodes in units of s, to its centroid's sums: (lists, width) f32. */
export function addToSums(
  codes: usize,
  scales: usize,
  which: usize,
  count: i32,
  width: i32,
  sums: usize,
): void {
  for (let i = 0; i < count; i++) {
    const a = v128.load32_splat(scales + (<usize>i << 2));
    const sum = sums + <usize>load<u32>(which + (<usize>i << 2)) * ((<usize>width) << 2);
    for (let j: usize = 0; j < <usize>width; j += 4) {
      const at = sum + (j << 2);
      const bytes = i16x8.extend_low_i8x16_u(v128.load32_zero(codes + j));
      const c = i32x4.sub(i32x4.extend_low_i16x8_u(bytes), i32x4.splat(128));
      v128.store(at, f32x4.add(v128.load(at), f32x4.mul(f32x4.convert_i32x4_s(c), a)));
    }
    codes += width;
  }
}
