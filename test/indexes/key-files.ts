/** Key files for tests. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { KeyDtype, KeySource } from '../../dist/math/vectors.js';

/** The nearest half to a number whose magnitude is below 65520, ties to even. */
export function toHalf(x: number): number {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const a = Math.abs(x);
  // The spacing of halves around a; below 2^-14 they are subnormal and 2^-24 apart.
  const exponent = Math.max(-14, Math.floor(Math.log2(a || 2 ** -30)));
  const units = roundToEven(a / 2 ** (exponent - 10));
  return sign | (((exponent + 14) << 10) + units);
}

function roundToEven(x: number): number {
  const down = Math.floor(x);
  const rest = x - down;
  return rest > 0.5 || (rest === 0.5 && down % 2 === 1) ? down + 1 : down;
}

export function fromHalf(half: number): number {
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  const a = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return half & 0x8000 ? -a : a;
}

/**
 * Writes keys to two files, the second with some bytes before its first row.
 * @returns the sources, and the keys as they were stored
 */
export function writeKeys(
  folder: string,
  keys: Float32Array,
  dim: number,
  dtype: KeyDtype,
): { sources: KeySource[]; stored: Float32Array } {
  const stored = dtype === 'fp16' ? keys.map((x) => fromHalf(toHalf(x))) : keys;
  const raw = dtype === 'fp16' ? Uint16Array.from(keys, toHalf) : keys;
  const n = keys.length / dim;
  const split = Math.floor(n / 3);
  const offset = 6;
  const paths = [join(folder, 'first.bin'), join(folder, 'second.bin')] as const;
  writeFileSync(paths[0], raw.subarray(0, split * dim));
  const rest = raw.slice(split * dim);
  writeFileSync(paths[1], Buffer.concat([Buffer.alloc(offset), Buffer.from(rest.buffer)]));
  return {
    stored,
    sources: [
      { path: paths[0], dtype, count: split, byteOffset: 0 },
      { path: paths[1], dtype, count: n - split, byteOffset: offset },
    ],
  };
}
