/** The sum of a vector's four singles, always in the same order. */
// @ts-ignore: decorator
@inline
export function sumLanes(a: v128): f32 {
  const pairs = f32x4.add(a, i32x4.shuffle(a, a, 2, 3, 0, 1));
  return f32x4.extract_lane(pairs, 0) + f32x4.extract_lane(pairs, 1);
}
