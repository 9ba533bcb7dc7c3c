import fc from 'fast-check';
import { expect, it } from 'vitest';
import { weightSum } from '../../dist/knnlm/weight-sum.js';

/** In double precision, as it is defined. */
function plainSum(scores: Float32Array, most: number, temperature: number): number {
  return scores.reduce((sum, score) => sum + Math.exp((score - most) / temperature), 0);
}

it('is the sum of exponentials, of any number of scores and at any temperature', () => {
  const scores = fc
    .array(fc.float({ min: -200, max: 0, noNaN: true }), { minLength: 1, maxLength: 9000 })
    .map((values) => Float32Array.from(values));
  const temperature = fc.constantFrom(0.001, 0.01, 0.5, 0.8, 1, 1.5, 100);
  fc.assert(
    fc.property(scores, temperature, (values, t) => {
      const most = values.reduce((a, b) => Math.max(a, b));
      const relative = weightSum(values, most, t) / plainSum(values, most, t);
      expect(Math.abs(relative - 1)).toBeLessThan(1e-6);
    }),
    { numRuns: 300 },
  );
});

it('counts the best alone where it is as cold as can be', () => {
  expect(weightSum(Float32Array.of(-3, -4, -3, -3.001), -3, 1e-300)).toBeCloseTo(2, 12);
});

it('counts nothing for tokens that are ruled out', () => {
  const scores = Float32Array.of(-1, Number.NEGATIVE_INFINITY, -2, Number.NEGATIVE_INFINITY, -1);
  expect(weightSum(scores, -1, 1)).toBeCloseTo(2 + Math.exp(-1), 6);
});
