/**
 * IEEE 754 binary16 ("half", fp16) to binary32 and back, for stored keys.
 * Rounds to nearest, ties to even, as NumPy's `astype(float16)` and the hardware do.
 * Integer arithmetic on the floats' bits: Float16Array is not in every supported Node.
 */

/** Smallest float32 bits that round to infinity: 65520, halfway between 65504 and the next step. */
const OVERFLOW_BITS = 0x477ff000;
/** Bits of 2^-14, the smallest normal half. */
const MIN_NORMAL_BITS = 0x38800000;
/** Adding 0.5 aligns a float32's last mantissa bit with 2^-24, the step of subnormal halves: the hardware then rounds. */
const SUBNORMAL_MAGIC = 0.5;
const SUBNORMAL_MAGIC_BITS = 0x3f000000;

const scratch = new Float32Array(1);
const scratchBits = new Uint32Array(scratch.buffer);

/**
 * Converts every value of `src` into `out` (same length or longer).
 * @returns index of the first value that a half cannot hold (NaN, infinity, magnitude of 65,520 or more; `out` is then
 * incomplete), or -1 when all fit
 */
export function floatsToHalf(out: Uint16Array, src: Float32Array): number {
  const bits = new Uint32Array(src.buffer, src.byteOffset, src.length);
  for (let i = 0; i < bits.length; i++) {
    const x = bits[i]!;
    const sign = (x >>> 16) & 0x8000;
    const magnitude = x & 0x7fffffff;
    if (magnitude >= OVERFLOW_BITS) return i;
    if (magnitude >= MIN_NORMAL_BITS) {
      // Rebias the exponent (127 - 15 = 112), then add just under half a step, one more when the kept mantissa is odd.
      out[i] = sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
    } else {
      scratchBits[0] = magnitude;
      scratch[0]! += SUBNORMAL_MAGIC;
      out[i] = sign | (scratchBits[0]! - SUBNORMAL_MAGIC_BITS);
    }
  }
  return -1;
}

/** 2^112: undoes the bias of an exponent that was moved over unchanged; exact for subnormals too. */
const REBIAS = 2 ** 112;

/** Converts every half of `src` into `out` (same length or longer), exactly. */
export function halfToFloats(out: Float32Array, src: Uint16Array): void {
  const bits = new Uint32Array(out.buffer, out.byteOffset, src.length);
  for (let i = 0; i < src.length; i++) {
    const h = src[i]!;
    const magnitude = h & 0x7fff;
    if (magnitude >= 0x7c00) {
      bits[i] = ((h & 0x8000) << 16) | 0x7f800000 | ((magnitude & 0x3ff) << 13);
    } else {
      bits[i] = ((h & 0x8000) << 16) | (magnitude << 13);
      out[i]! *= REBIAS;
    }
  }
}
