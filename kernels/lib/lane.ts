/** A lane chosen at run time; the instruction itself wants a constant. */
// @ts-ignore: decorator
@inline
export function laneOf(v: v128, lane: i32): f32 {
  if (lane < 2) return lane ? f32x4.extract_lane(v, 1) : f32x4.extract_lane(v, 0);
  return lane > 2 ? f32x4.extract_lane(v, 3) : f32x4.extract_lane(v, 2);
}
