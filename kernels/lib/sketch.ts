/**
 * Sketches of coded rows: of each row's way from its centroid, rotated, the signs, a bit per dimension. They tell a distance
 * within an error that is known (Gao and Long 2024, "RaBitQ", § 3): with r the rotated way, s its signs, c the rotated
 * centroid, q the rotated query and f = ‖r‖² / ⟨s, r⟩
 *
 *   ‖q - c - r‖² ≈ ‖q - c‖² + ‖r‖² + 2f⟨s, c⟩ - 2f⟨s, q⟩,
 *
 * off by 2f · √(1 - γ²) · ‖q - c‖ at a deviation of one, γ = ⟨s, r⟩ / (‖r‖ √width). ⟨s, q⟩ comes from tables, one for every four
 * dimensions and of 16 entries, that a register holds (André et al. 2015).
 *
 * The rotation is a Hadamard transform of the vector with chosen signs, in blocks of a power of two: it spreads what a few
 * dimensions hold over the block.
 */
import { sumLanes } from './sum-lanes';

/** In place. @param signs (width) f32 ±1 / √block; @param block a power of two from 4 on that divides width */
function rotateBlocks(vector: usize, width: i32, signs: usize, block: i32): void {
  const bytes = <usize>width << 2;
  const blockBytes = <usize>block << 2;
  const odd = f32x4(1, -1, 1, -1);
  const high = f32x4(1, 1, -1, -1);
  for (let j: usize = 0; j < bytes; j += 16) {
    let v = f32x4.mul(v128.load(vector + j), v128.load(signs + j));
    v = f32x4.add(i32x4.shuffle(v, v, 0, 0, 2, 2), f32x4.mul(i32x4.shuffle(v, v, 1, 1, 3, 3), odd));
    v = f32x4.add(i32x4.shuffle(v, v, 0, 1, 0, 1), f32x4.mul(i32x4.shuffle(v, v, 2, 3, 2, 3), high));
    v128.store(vector + j, v);
  }
  for (let half: usize = 16; half < blockBytes; half <<= 1) {
    for (let start = vector; start < vector + bytes; start += half << 1) {
      for (let j = start; j < start + half; j += 16) {
        const a = v128.load(j);
        const b = v128.load(j + half);
        v128.store(j, f32x4.add(a, b));
        v128.store(j + half, f32x4.sub(a, b));
      }
    }
  }
}

/** `rotateBlocks` of a copy. @param vector (width) f32; @param out (width) f32 */
export function rotated(vector: usize, width: i32, signs: usize, block: i32, out: usize): void {
  memory.copy(out, vector, <usize>width << 2);
  rotateBlocks(out, width, signs, block);
}

/**
 * Sketches of `count` rows.
 * @param codes (count, width) u8; @param scales (count) f32; @param scale (width) f32 of the code
 * @param center, turned (width) f32 the centroid as its code decodes, and that rotated; @param work room for a row
 * @param bits (blocks of 16 rows, width / 8, 16) u8 two times four signs, low half first
 * @param offsets, slopes (count to the next multiple of 16) f32 ‖r‖² + 2f⟨s, c⟩ and 2f
 * @returns the largest 1 - γ²
 */
export function sketchRows(
  codes: usize,
  scales: usize,
  count: i32,
  width: i32,
  scale: usize,
  center: usize,
  turned: usize,
  signs: usize,
  block: i32,
  work: usize,
  bits: usize,
  offsets: usize,
  slopes: usize,
): f32 {
  const bytes = <usize>width << 2;
  let worst: f32 = 0;
  for (let i = 0; i < count; i++, codes += width) {
    const a = v128.load32_splat(scales + (<usize>i << 2));
    for (let j: usize = 0; j < bytes; j += 16) {
      const four = i16x8.extend_low_i8x16_u(v128.load32_zero(codes + (j >> 2)));
      const c = f32x4.convert_i32x4_s(i32x4.sub(i32x4.extend_low_i16x8_u(four), i32x4.splat(128)));
      const z = f32x4.mul(f32x4.mul(c, v128.load(scale + j)), a);
      v128.store(work + j, f32x4.sub(z, v128.load(center + j)));
    }
    rotateBlocks(work, width, signs, block);
    let squares = f32x4.splat(0);
    let along = f32x4.splat(0);
    let across = f32x4.splat(0);
    let to = bits + <usize>(i >> 4) * (<usize>width << 1) + <usize>(i & 15);
    for (let j: usize = 0; j < bytes; j += 32, to += 16) {
      const r0 = v128.load(work + j);
      const r1 = v128.load(work + j, 16);
      const s0 = f32x4.ge(r0, f32x4.splat(0));
      const s1 = f32x4.ge(r1, f32x4.splat(0));
      store<u8>(to, i32x4.bitmask(s0) | (i32x4.bitmask(s1) << 4));
      squares = f32x4.add(squares, f32x4.add(f32x4.mul(r0, r0), f32x4.mul(r1, r1)));
      along = f32x4.add(along, f32x4.add(f32x4.abs(r0), f32x4.abs(r1)));
      across = f32x4.add(across, signed(v128.load(turned + j), s0));
      across = f32x4.add(across, signed(v128.load(turned + j, 16), s1));
    }
    const norm = sumLanes(squares);
    const reach = sumLanes(along);
    const slope: f32 = reach > 0 ? (2 * norm) / reach : 0;
    store<f32>(offsets + (<usize>i << 2), norm + slope * sumLanes(across));
    store<f32>(slopes + (<usize>i << 2), slope);
    if (norm > 0) worst = max<f32>(worst, 1 - (reach * reach) / (norm * <f32>width));
  }
  for (let i = count; i & 15; i++) {
    store<f32>(offsets + (<usize>i << 2), f32.MAX_VALUE);
    store<f32>(slopes + (<usize>i << 2), 0);
  }
  return worst;
}

/** x where the sign is positive, else -x. */
// @ts-ignore: decorator
@inline
function signed(x: v128, isPositive: v128): v128 {
  return v128.xor(x, v128.andnot(i32x4.splat(0x8000_0000), isPositive));
}

/**
 * A query's tables: ⟨signs, q⟩ ≈ the entries' sum · step - offset, entries of 7 bits.
 * @param query (width) f32 rotated; @param out (width / 4, 16) u8; @param constants written: f32 offset, f32 step
 */
export function sketchTables(query: usize, width: i32, out: usize, constants: usize): void {
  const bytes = <usize>width << 2;
  let offset: f32 = 0;
  let widest: f32 = 0;
  for (let j: usize = 0; j < bytes; j += 16) {
    const reach = sumLanes(f32x4.abs(v128.load(query + j)));
    offset += reach;
    widest = max(widest, reach);
  }
  const step: f32 = (2 * widest) / 127;
  const toUnits: f32 = step > 0 ? 1 / step : 0;
  for (let j: usize = 0; j < bytes; j += 16) {
    const reach = sumLanes(f32x4.abs(v128.load(query + j)));
    for (let word = 0; word < 16; word++) {
      let sum = reach;
      for (let bit: usize = 0; bit < 4; bit++) {
        const x = load<f32>(query + j + (bit << 2));
        sum += word & (1 << <i32>bit) ? x : -x;
      }
      store<u8>(out + j + <usize>word, <u32>nearest(max<f32>(0, sum * toUnits)));
    }
  }
  store<f32>(constants, offset);
  store<f32>(constants, step, 4);
}

/** Of four rows the numbers of those within the limit. Returns where to go on. */
// @ts-ignore: decorator
@inline
function keepFour(
  sums: v128,
  offsets: usize,
  slopes: usize,
  base: v128,
  step: v128,
  limit: v128,
  first: i32,
  out: usize,
): usize {
  const dot = f32x4.add(base, f32x4.mul(f32x4.convert_i32x4_u(sums), step));
  const bound = f32x4.sub(v128.load(offsets), f32x4.mul(v128.load(slopes), dot));
  // Without branches: which rows are near cannot be foretold.
  const mask = i32x4.bitmask(f32x4.le(bound, limit));
  store<u32>(out, first);
  out += <usize>(mask & 1) << 2;
  store<u32>(out, first + 1);
  out += <usize>(mask & 2) << 1;
  store<u32>(out, first + 2);
  out += <usize>(mask & 4);
  store<u32>(out, first + 3);
  out += <usize>(mask & 8) >> 1;
  return out;
}

/**
 * Numbers of the rows that may be within `limit`: offset - slope · (base + step · sum of entries) ≤ limit.
 * @param bits, offsets, slopes of rows first, first + 1, …; @param width at most 2048: sums have 16 bits
 * @param out room for count u32 and one more
 * @returns how many
 */
export function sketched(
  bits: usize,
  offsets: usize,
  slopes: usize,
  first: i32,
  count: i32,
  width: i32,
  tables: usize,
  base: f32,
  step: f32,
  limit: f32,
  out: usize,
): i32 {
  const start = out;
  const bases = f32x4.splat(base);
  const steps = f32x4.splat(step);
  const limits = f32x4.splat(limit);
  const end = tables + (<usize>width << 2);
  for (let i = first; i < first + count; i += 16, offsets += 64, slopes += 64) {
    // 16-bit lanes hold a row with an even number and 256 times one with an odd number; the odd ones are summed once more.
    let both = i16x8.splat(0);
    let odd = i16x8.splat(0);
    for (let table = tables; table < end; table += 32, bits += 16) {
      const codes = v128.load(bits);
      const low = i8x16.swizzle(v128.load(table), v128.and(codes, i8x16.splat(15)));
      const high = i8x16.swizzle(v128.load(table, 16), i8x16.shr_u(codes, 4));
      const pair = i8x16.add(low, high);
      both = i16x8.add(both, pair);
      odd = i16x8.add(odd, i16x8.shr_u(pair, 8));
    }
    const even = i16x8.sub(both, i16x8.shl(odd, 8));
    const a = i16x8.shuffle(even, odd, 0, 8, 1, 9, 2, 10, 3, 11);
    const b = i16x8.shuffle(even, odd, 4, 12, 5, 13, 6, 14, 7, 15);
    const a0 = i32x4.extend_low_i16x8_u(a);
    const a1 = i32x4.extend_high_i16x8_u(a);
    const b0 = i32x4.extend_low_i16x8_u(b);
    const b1 = i32x4.extend_high_i16x8_u(b);
    out = keepFour(a0, offsets, slopes, bases, steps, limits, i, out);
    out = keepFour(a1, offsets + 16, slopes + 16, bases, steps, limits, i + 4, out);
    out = keepFour(b0, offsets + 32, slopes + 32, bases, steps, limits, i + 8, out);
    out = keepFour(b1, offsets + 48, slopes + 48, bases, steps, limits, i + 12, out);
  }
  return <i32>((out - start) >> 2);
}
