import { expect, it } from 'vitest';
import { logLinear } from '../../dist/math/log-linear.js';
import { Random } from '../../dist/math/random.js';

it('finds the weights of a mean that is the exponential of a linear form', () => {
  const random = new Random(2);
  const [m, weights] = [20_000, [0.8, -0.5, 0, -1]];
  const features = Float64Array.from({ length: 3 * m }, () => 2 * random.uniform() - 1);
  const values = Array.from({ length: m }, (_, row) => {
    const x = features.subarray(3 * row, 3 * row + 3);
    const mean = Math.exp(weights.reduce((sum, w, i) => sum + w * (x[i] ?? 1), 0));
    // From 0 to twice the mean.
    return 2 * mean * random.uniform();
  });
  const found = logLinear(features, values);
  for (const [i, weight] of weights.entries()) expect(found[i]).toBeCloseTo(weight, 1);
});

it('stays finite where nothing is gained', () => {
  const features = Float64Array.from({ length: 40 }, (_, i) => (i % 7) - 3);
  for (const value of [0, -0.5]) {
    const found = logLinear(features, new Array(20).fill(value));
    expect([...found].every(Number.isFinite)).toBe(true);
  }
});
