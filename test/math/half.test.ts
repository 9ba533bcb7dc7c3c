import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { floatsToHalf, halfToFloats } from '../../dist/math/half.js';

const toHalf = (x: number) => {
  const out = new Uint16Array(1);
  return floatsToHalf(out, Float32Array.of(x)) === -1 ? out[0]! : undefined;
};

/** The value of a half by the definition of IEEE 754. */
function decoded(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0
    ? sign * fraction * 2 ** -24
    : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const all = Uint16Array.from({ length: 65_536 }, (_, i) => i);

describe('half precision', () => {
  it('gives every half the value IEEE 754 defines', () => {
    const floats = new Float32Array(65_536);
    halfToFloats(floats, all);
    floats.forEach((x, i) => {
      if (!Object.is(x, decoded(i))) throw new Error(`${i} became ${x}`);
    });
  });

  it('takes every finite half back to itself, the sign of zero included', () => {
    const finite = all.filter((half) => (half & 0x7c00) !== 0x7c00);
    const floats = new Float32Array(finite.length);
    const back = new Uint16Array(finite.length);
    halfToFloats(floats, finite);
    expect(floatsToHalf(back, floats)).toBe(-1);
    expect(back).toEqual(finite);
  });

  it('rounds to the nearest half, ties to the even one', () => {
    const float = fc.oneof(
      fc.float({ noNaN: true, min: -65_504, max: 65_504 }),
      fc.float({ noNaN: true, min: Math.fround(-1e-4), max: Math.fround(1e-4) }),
      // Halfway between two neighbors, and a hair beside.
      fc.tuple(fc.integer({ min: 0, max: 0x7bfe }), fc.constantFrom(-1, 0, 1)).map(([h, d]) => {
        const middle = Float32Array.of((decoded(h) + decoded(h + 1)) / 2);
        new Int32Array(middle.buffer)[0]! += d;
        return middle[0]!;
      }),
    );
    fc.assert(
      fc.property(float, (x) => {
        const half = toHalf(x)!;
        const distance = Math.abs(decoded(half) - x);
        for (const neighbor of [half - 1, half + 1]) {
          if (((neighbor ^ half) & 0x8000) !== 0 || neighbor < 0) continue;
          const other = Math.abs(decoded(neighbor) - x);
          if (other < distance || (other === distance && (half & 1) === 1)) return false;
        }
        return Object.is(Math.sign(x), Math.sign(decoded(half))) || decoded(half) === 0;
      }),
      { numRuns: 5000 },
    );
  });

  it('names the first value that does not fit', () => {
    expect(toHalf(65_504)).toBe(0x7bff);
    expect(toHalf(65_519.996)).toBe(0x7bff);
    const out = new Uint16Array(4);
    for (const bad of [65_520, -70_000, Number.NaN, Number.NEGATIVE_INFINITY])
      expect(floatsToHalf(out, Float32Array.of(1, 2, bad, bad))).toBe(2);
  });
});
