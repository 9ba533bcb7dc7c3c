/** Squared L2 distances of one query to rows that lie side by side: the search of a small, growing set of keys. */

// @ts-ignore: decorator
@inline
function squares(sum: v128, query: usize, row: usize): v128 {
  const off = f32x4.sub(v128.load(query), v128.load(row));
  return f32x4.add(sum, f32x4.mul(off, off));
}

/**
 * @param query (width) f32
 * @param rows (count, width) f32; width a multiple of 8, filled up with zeros
 * @param out (count) f32
 */
export function rowDistances(
  query: usize,
  rows: usize,
  count: i32,
  width: i32,
  out: usize,
): void {
  const bytes = <usize>width << 2;
  for (let i = 0; i < count; i++) {
    let a = f32x4.splat(0);
    let b = f32x4.splat(0);
    for (let j: usize = 0; j < bytes; j += 32) {
      a = squares(a, query + j, rows + j);
      b = squares(b, query + j + 16, rows + j + 16);
    }
    a = f32x4.add(a, b);
    a = f32x4.add(a, i32x4.shuffle(a, a, 2, 3, 0, 1));
    store<f32>(out + (<usize>i << 2), f32x4.extract_lane(a, 0) + f32x4.extract_lane(a, 1));
    rows += bytes;
  }
}
