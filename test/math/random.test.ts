import { expect, it } from 'vitest';
import { bootstrapIntervals } from '../../dist/math/bootstrap.js';
import { Random } from '../../dist/math/random.js';

it('gives the same numbers for the same seed and others for another', () => {
  const draw = (seed: number): number[] => {
    const random = new Random(seed);
    return Array.from({ length: 5 }, () => random.uint32());
  };
  expect(draw(7)).toEqual(draw(7));
  expect(draw(7)).not.toEqual(draw(8));
});

it('is uniform: mean and variance of 20,000 draws', () => {
  const random = new Random(1);
  const draws = Array.from({ length: 20_000 }, () => random.uniform());
  const mean = draws.reduce((a, b) => a + b) / draws.length;
  const variance = draws.reduce((a, b) => a + (b - mean) ** 2, 0) / draws.length;
  expect(Math.min(...draws)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...draws)).toBeLessThan(1);
  expect(mean).toBeCloseTo(0.5, 1.5);
  expect(variance).toBeCloseTo(1 / 12, 2);
});

it('brackets the mean with a bootstrap interval of the expected width', () => {
  const random = new Random(3);
  const units = Array.from({ length: 400 }, () => [random.uniform(), 1]);
  const mean = units.reduce((sum, [x]) => sum + x!, 0) / units.length;
  const [interval] = bootstrapIntervals(units, [([sum, n]) => sum! / n!]);
  expect(interval![0]).toBeLessThan(mean);
  expect(interval![1]).toBeGreaterThan(mean);
  // ±1.96 · sqrt(1/12) / sqrt(400) = ±0.0283
  expect(interval![1] - interval![0]).toBeGreaterThan(0.045);
  expect(interval![1] - interval![0]).toBeLessThan(0.068);
});
