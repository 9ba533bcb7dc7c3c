/**
 * Product codes (Jégou, Douze and Schmid 2011): a vector is cut into m sub-vectors of `part` numbers, each told by the number
 * of the nearest of its own `words` codewords. Codebooks are (m, part, words) f32: one dimension of all words of a
 * sub-vector lies in a row, so that four words are compared at once. `words` is a multiple of 16.
 *
 * A query's tables are (m, words) f32, here always of 2⟨query, word⟩. With them a row at r̂ of a list whose center is c is at
 *   ‖q - c - r̂‖² = ‖q - c‖² + bias - Σ table[code],   bias = ‖r̂‖² + 2⟨c, r̂⟩,
 * and the bias, which is of no query, is stored in 8 bits.
 */
import { sumLanes } from './sum-lanes';

/** @param query (m · part) f32; @param tables (m, words) f32, written: 2⟨query, word⟩ */
export function productTables(
  query: usize,
  m: i32,
  part: i32,
  words: i32,
  books: usize,
  tables: usize,
): void {
  const line = <usize>words << 2;
  const partBytes = <usize>part << 2;
  for (let s = 0; s < m; s++) {
    for (let w: usize = 0; w < line; w += 16) {
      let sum = f32x4.splat(0);
      let word = books + w;
      for (let j: usize = 0; j < partBytes; j += 4, word += line) {
        sum = f32x4.add(sum, f32x4.mul(v128.load32_splat(query + j), v128.load(word)));
      }
      v128.store(tables + w, f32x4.add(sum, sum));
    }
    books += partBytes * <usize>words;
    tables += line;
    query += partBytes;
  }
}

/** Sum of a row's table entries, 256 to a sub-vector; m is a multiple of 4. */
// @ts-ignore: decorator
@inline
function sumEntries(code: usize, m: usize, tables: usize): f32 {
  let a: f32 = 0;
  let b: f32 = 0;
  let table = tables;
  for (const end = code + m; code < end; code += 4, table += 4096) {
    const four = load<u32>(code);
    a += load<f32>(table + ((<usize>four & 255) << 2));
    b += load<f32>(table + ((<usize>(four >> 8) & 255) << 2), 1024);
    a += load<f32>(table + ((<usize>(four >> 16) & 255) << 2), 2048);
    b += load<f32>(table + (<usize>(four >> 24) << 2), 3072);
  }
  return a + b;
}

/** Sum of the table entries of each row, of any number of words: (count) f32. */
export function sumTables(
  codes: usize,
  count: i32,
  m: i32,
  words: i32,
  tables: usize,
  out: usize,
): void {
  for (let i = 0; i < count; i++, codes += m) {
    let sum: f32 = 0;
    for (let s = 0; s < m; s++) {
      const entry = s * words + <i32>load<u8>(codes + s);
      sum += load<f32>(tables + (<usize>entry << 2));
    }
    store<f32>(out + (<usize>i << 2), sum);
  }
}

/**
 * Pairs of the rows within `limit`, as `collect` finds them.
 * @param codes (count, m) u8; @param biases (count) u8 in units of `step`; @param base ‖q - c‖² and the least bias
 */
export function collectProductCodes(
  codes: usize,
  biases: usize,
  ids: usize,
  count: i32,
  m: i32,
  tables: usize,
  base: f32,
  step: f32,
  limit: f32,
  out: usize,
): i32 {
  const start = out;
  for (let i: usize = 0; i < <usize>count; i++, codes += m) {
    const bias = base + step * <f32>load<u8>(biases + i);
    const found = max<f32>(bias - sumEntries(codes, m, tables), 0);
    if (found > limit) continue;
    store<u32>(out, load<u32>(ids + (i << 2)));
    store<f32>(out, found, 4);
    out += 8;
  }
  return <i32>((out - start) >> 3);
}

/** Ascending entry ids from their gaps, each in groups of 7 bits, low ones first, the last without its high bit. */
export function decodeGaps(gaps: usize, count: i32, out: usize): usize {
  let id: u32 = 0;
  for (let i = 0; i < count; i++, out += 4) {
    let shift: u32 = 0;
    let byte: u32;
    do {
      byte = load<u8>(gaps++);
      id += (byte & 127) << shift;
      shift += 7;
    } while (byte & 128 && shift < 35);
    store<u32>(out, id);
  }
  return gaps;
}

/** Inner product of two vectors of a multiple of 4 numbers. */
export function innerProduct(a: usize, b: usize, width: i32): f32 {
  let sum = f32x4.splat(0);
  for (let j: usize = 0; j < <usize>width << 2; j += 16) {
    sum = f32x4.add(sum, f32x4.mul(v128.load(a + j), v128.load(b + j)));
  }
  return sumLanes(sum);
}

/**
 * Tables of 16 words in 16 bits, high and low bytes apart: entry ≈ least of its sub-quantizer + step · u16, one step for
 * all. With bytes alone (André et al. 2015) distances were off by 5%, since a query is farther from the center of all keys
 * than keys are from their centroid.
 * @param tables (m, 16) f32; @param out (m, 2, 16) u8; @param constants written: f32 sum of the least, f32 step
 */
export function narrowTables(tables: usize, m: i32, out: usize, constants: usize): void {
  let widest: f32 = 0;
  let offset: f32 = 0;
  for (let s: usize = 0; s < <usize>m; s++) {
    const least = leastOf(tables + (s << 6));
    offset += least;
    for (let w: usize = 0; w < 64; w += 4) {
      widest = max(widest, load<f32>(tables + (s << 6) + w) - least);
    }
  }
  const step = widest / 65535;
  const toUnits: f32 = step > 0 ? 1 / step : 0;
  for (let s: usize = 0; s < <usize>m; s++) {
    const least = leastOf(tables + (s << 6));
    for (let w: usize = 0; w < 16; w++) {
      const units = nearest((load<f32>(tables + (s << 6) + (w << 2)) - least) * toUnits);
      const entry = <u32>min<f32>(units, 65535);
      store<u8>(out + (s << 5) + w, entry >> 8);
      store<u8>(out + (s << 5) + w, entry & 255, 16);
    }
  }
  store<f32>(constants, offset);
  store<f32>(constants, step, 4);
}

function leastOf(table: usize): f32 {
  let least = load<f32>(table);
  for (let w: usize = 4; w < 64; w += 4) least = min(least, load<f32>(table + w));
  return least;
}

/** Four rows of a block: sums of their entries → distances; pairs of those within the limit. Returns where to go on. */
// @ts-ignore: decorator
@inline
function collectFour(
  sums: v128,
  biases: usize,
  ids: usize,
  left: i32,
  base: v128,
  biasStep: v128,
  step: v128,
  limit: v128,
  out: usize,
): usize {
  const bytes = i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(v128.load32_zero(biases)));
  const bias = f32x4.add(base, f32x4.mul(f32x4.convert_i32x4_u(bytes), biasStep));
  const near = f32x4.mul(f32x4.convert_i32x4_u(sums), step);
  const found = f32x4.max(f32x4.sub(bias, near), f32x4.splat(0));
  let mask = i32x4.bitmask(f32x4.le(found, limit));
  if (left < 4) mask &= (1 << max(left, 0)) - 1;
  for (; mask; mask &= mask - 1) {
    const lane = <usize>ctz(mask) << 2;
    v128.store(0, found);
    store<u32>(out, load<u32>(ids + lane));
    store<u32>(out, load<u32>(lane), 4);
    out += 8;
  }
  return out;
}

/**
 * `collectProductCodes` over blocks of 16 rows of 4-bit codes: a table of 16 bytes fits a register, so one instruction
 * looks up a byte of 16 rows (André et al. 2015).
 * @param codes (blocks, m / 2, 16) u8; @param tables (m, 2, 16) u8; @param base as there, less the tables' offset
 */
export function collectProductBlocks(
  codes: usize,
  biases: usize,
  ids: usize,
  count: i32,
  m: i32,
  tables: usize,
  base: f32,
  biasStep: f32,
  step: f32,
  limit: f32,
  out: usize,
): i32 {
  const start = out;
  const bases = f32x4.splat(base);
  const biasSteps = f32x4.splat(biasStep);
  const steps = f32x4.splat(step);
  const limits = f32x4.splat(limit);
  for (let left = count; left > 0; left -= 16, biases += 16, ids += 64) {
    let high0 = i16x8.splat(0);
    let high1 = i16x8.splat(0);
    let low0 = i16x8.splat(0);
    let low1 = i16x8.splat(0);
    for (let table = tables, end = tables + (<usize>m << 5); table < end; table += 64, codes += 16) {
      const both = v128.load(codes);
      const first = v128.and(both, i8x16.splat(15));
      const second = i8x16.shr_u(both, 4);
      const a = i8x16.swizzle(v128.load(table), first);
      const b = i8x16.swizzle(v128.load(table, 16), first);
      const c = i8x16.swizzle(v128.load(table, 32), second);
      const d = i8x16.swizzle(v128.load(table, 48), second);
      high0 = i16x8.add(high0, addLow(a, c));
      high1 = i16x8.add(high1, addHigh(a, c));
      low0 = i16x8.add(low0, addLow(b, d));
      low1 = i16x8.add(low1, addHigh(b, d));
    }
    const a = joinLow(high0, low0);
    const b = joinHigh(high0, low0);
    const c = joinLow(high1, low1);
    const d = joinHigh(high1, low1);
    out = collectFour(a, biases, ids, left, bases, biasSteps, steps, limits, out);
    out = collectFour(b, biases + 4, ids + 16, left - 4, bases, biasSteps, steps, limits, out);
    out = collectFour(c, biases + 8, ids + 32, left - 8, bases, biasSteps, steps, limits, out);
    out = collectFour(d, biases + 12, ids + 48, left - 12, bases, biasSteps, steps, limits, out);
  }
  return <i32>((out - start) >> 3);
}

// @ts-ignore: decorator
@inline
function addLow(a: v128, b: v128): v128 {
  return i16x8.add(i16x8.extend_low_i8x16_u(a), i16x8.extend_low_i8x16_u(b));
}

// @ts-ignore: decorator
@inline
function addHigh(a: v128, b: v128): v128 {
  return i16x8.add(i16x8.extend_high_i8x16_u(a), i16x8.extend_high_i8x16_u(b));
}

// @ts-ignore: decorator
@inline
function joinLow(high: v128, low: v128): v128 {
  return i32x4.add(i32x4.shl(i32x4.extend_low_i16x8_u(high), 8), i32x4.extend_low_i16x8_u(low));
}

// @ts-ignore: decorator
@inline
function joinHigh(high: v128, low: v128): v128 {
  return i32x4.add(i32x4.shl(i32x4.extend_high_i16x8_u(high), 8), i32x4.extend_high_i16x8_u(low));
}
