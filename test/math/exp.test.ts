import fc from 'fast-check';
import { expect, it } from 'vitest';
import { exp } from '../../dist/math/exp.js';

it('is Math.exp to 10⁻¹⁴ where softmaxes need it', () => {
  fc.assert(
    fc.property(fc.double({ min: -45, max: 0, noNaN: true }), (x) => {
      expect(Math.abs(exp(x) / Math.exp(x) - 1)).toBeLessThan(1e-14);
    }),
    { numRuns: 2000 },
  );
});

it('is Math.exp itself everywhere else', () => {
  for (const x of [0, -0, 1, 700, 1000, -40, -700, -1000, Infinity, -Infinity, Number.NaN]) {
    expect(exp(x)).toBe(Math.exp(x));
  }
});
