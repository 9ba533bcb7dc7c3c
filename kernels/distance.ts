/** Exact squared L2 distances of chosen rows, accumulated in double precision. */
import { decodeHalf, decodeHalves } from './lib/half';

// @ts-ignore: decorator
@inline
function squares(query: usize, four: v128): v128 {
  const low = f64x2.sub(v128.load(query), f64x2.promote_low_f32x4(four));
  const high = f64x2.sub(
    v128.load(query, 16),
    f64x2.promote_low_f32x4(i32x4.shuffle(four, four, 2, 3, 2, 3)),
  );
  return f64x2.add(f64x2.mul(low, low), f64x2.mul(high, high));
}

/** Rows fetched together: rows far apart took 330 ns each one by one, 150 ns eight at a time (d = 256, fp16). */
const GROUP: i32 = 8;

/** Loads something of each cache line of a row that is needed soon: the rows lie far apart, out of the prefetcher's sight. */
// @ts-ignore: decorator
@inline
function touch(row: usize, bytes: usize, into: i32): i32 {
  for (let at: usize = 0; at < bytes; at += 64) into |= <i32>load<u8>(row + at);
  return into;
}

/**
 * @param keys rows of `dim` halves or singles
 * @param ids (count) u32 row numbers
 * @param query (dim) f64
 * @param out (count) f32 squared distances
 * @returns nothing of use, but the loads ahead depend on it
 */
export function distances(
  keys: usize,
  dim: i32,
  isHalf: bool,
  ids: usize,
  count: i32,
  query: usize,
  out: usize,
): i32 {
  const rowBytes = <usize>dim << (isHalf ? 1 : 2);
  let touched = 0;
  for (let i = 0; i < count; i++) {
    if (i % GROUP == 0) {
      const end = min(i + GROUP, count);
      for (let g = i; g < end; g++) {
        touched = touch(keys + <usize>load<u32>(ids + (<usize>g << 2)) * rowBytes, rowBytes, touched);
      }
    }
    const row = keys + <usize>load<u32>(ids + (<usize>i << 2)) * rowBytes;
    let a = f64x2.splat(0);
    let b = f64x2.splat(0);
    let j = 0;
    if (isHalf) {
      for (; j + 8 <= dim; j += 8) {
        const halves = v128.load(row + (<usize>j << 1));
        const at = query + (<usize>j << 3);
        a = f64x2.add(a, squares(at, decodeHalves(i32x4.extend_low_i16x8_u(halves))));
        b = f64x2.add(b, squares(at + 32, decodeHalves(i32x4.extend_high_i16x8_u(halves))));
      }
    } else {
      for (; j + 8 <= dim; j += 8) {
        const at = query + (<usize>j << 3);
        a = f64x2.add(a, squares(at, v128.load(row + (<usize>j << 2))));
        b = f64x2.add(b, squares(at + 32, v128.load(row + (<usize>j << 2), 16)));
      }
    }
    a = f64x2.add(a, b);
    let sum = f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1);
    for (; j < dim; j++) {
      const x = isHalf
        ? decodeHalf(load<u16>(row + (<usize>j << 1)))
        : load<f32>(row + (<usize>j << 2));
      const off = load<f64>(query + (<usize>j << 3)) - <f64>x;
      sum += off * off;
    }
    store<f32>(out + (<usize>i << 2), <f32>sum);
  }
  return touched;
}
