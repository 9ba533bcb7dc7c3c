/** IEEE half precision, decoded by integer shifts: WebAssembly has no half type before the fp16 proposal. */

/** 2^112: moves the exponent of a half shifted into single's place from bias 15 to bias 127. Exact for subnormals too. */
const REBIAS: f32 = 5192296858534827628530496329220096.0;

/** Four halves in the low or high 16 bits of each lane's own 32 bits → four singles. Infinity and NaN become ≥ 65536. */
// @ts-ignore: decorator
@inline
export function decodeHalves(widened: v128): v128 {
  const magnitude = v128.shl<i32>(v128.and(widened, i32x4.splat(0x7fff)), 13);
  const sign = v128.shl<i32>(v128.and(widened, i32x4.splat(0x8000)), 16);
  return v128.or(v128.mul<f32>(magnitude, f32x4.splat(REBIAS)), sign);
}

// @ts-ignore: decorator
@inline
export function decodeHalf(half: u32): f32 {
  const magnitude = reinterpret<f32>((half & 0x7fff) << 13) * REBIAS;
  return reinterpret<f32>(reinterpret<u32>(magnitude) | ((half & 0x8000) << 16));
}
