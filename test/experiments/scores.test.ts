import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fallingClaim, higherClaim, lowerClaim } from '../../dist/experiments/claims.js';
import { fitTables } from '../../dist/experiments/fit.js';
import { mixtureWeights, threeWayScore } from '../../dist/experiments/mixture-weights.js';
import { compare, scoreTargets } from '../../dist/experiments/score.js';
import { fairLimit } from '../../dist/experiments/text-windows.js';
import { bestLambda } from '../../dist/knnlm/best-lambda.js';
import { CachedNeighbors } from '../../dist/knnlm/cached-neighbors.js';
import { Random } from '../../dist/math/random.js';

/** Forty windows of 50 targets, each worth so many nats more or less. */
function score(nats: number, noise = 0.2, seed = 1) {
  const random = new Random(seed);
  const units = Int32Array.from({ length: 2000 }, (_, row) => Math.floor(row / 50));
  return scoreTargets(units, () => -(nats + noise * (random.uniform() - 0.5)));
}

describe('claims', () => {
  const names = 'a over b';
  it('are shown when the whole interval agrees', () => {
    const claim = lowerClaim({
      statement: 's',
      better: score(3),
      worse: score(3.1, 0.2, 2),
      names,
    });
    expect(claim.verdict).toBe('shown');
    expect(claim.why).toBeUndefined();
  });

  it('are the opposite when the whole interval says so, by how much', () => {
    const claim = lowerClaim({
      statement: 's',
      better: score(3.1),
      worse: score(3, 0.2, 2),
      names,
    });
    expect(claim.verdict).toBe('opposite');
    expect(claim.why).toMatch(/it is 10\.\d% worse/);
  });

  it('are not shown within the noise, and say how much text would settle it', () => {
    const claim = lowerClaim({
      statement: 's',
      better: score(3, 3),
      worse: score(3.001, 3, 2),
      names,
    });
    expect(claim.verdict).toBe('not shown');
    expect(claim.why).toMatch(/would show on about [\d,]+ tokens/);
  });

  it('of a falling series name the step that rises', () => {
    const series = [3.3, 3, 3.2, 2.9].map((nats, i) => ({
      name: `step ${i}`,
      score: score(nats, 0.1, i + 1),
    }));
    expect(fallingClaim('s', series.toSpliced(2, 1)).verdict).toBe('shown');
    const claim = fallingClaim('s', series);
    expect(claim.verdict).toBe('not shown');
    expect(claim.why).toContain('from step 1 to step 2');
  });

  it('of two estimates need intervals apart', () => {
    const estimate = (value: number, half: number) => ({
      name: 'λ',
      value,
      interval: [value - half, value + half] as [number, number],
    });
    expect(higherClaim('s', estimate(0.6, 0.1), estimate(0.3, 0.1)).verdict).toBe('shown');
    expect(higherClaim('s', estimate(0.6, 0.2), estimate(0.3, 0.2)).verdict).toBe('not shown');
    expect(higherClaim('s', estimate(0.3, 0.1), estimate(0.6, 0.1)).verdict).toBe('opposite');
  });
});

it('a comparison in pairs is surer than the two intervals: noise of the text cancels', () => {
  const random = new Random(1);
  const text = Float64Array.from({ length: 2000 }, () => 6 * random.uniform());
  const units = Int32Array.from({ length: 2000 }, (_, row) => Math.floor(row / 50));
  const worse = scoreTargets(units, (row) => -text[row]!);
  const better = scoreTargets(units, (row) => -text[row]! + 0.02);
  const { ratio, interval } = compare(better, worse);
  expect(ratio).toBeCloseTo(Math.exp(-0.02), 6);
  expect(interval[1]).toBeLessThan(0.981);
});

describe('weights of several memories', () => {
  it('equal the best λ when there is one', async () => {
    const random = new Random(3);
    const gains = Float32Array.from({ length: 400 }, () => 4 * random.uniform() - 1);
    const [weight] = await mixtureWeights({ lm: new Float32Array(400), gains: [gains] });
    expect(weight).toBeCloseTo(bestLambda(gains), 2);
  });

  it('are no worse than any other weights', async () => {
    const random = new Random(4);
    const make = () => Float32Array.from({ length: 300 }, () => 5 * random.uniform() ** 2 - 1);
    const parts = { lm: new Float32Array(300).fill(-2), gains: [make(), make()] };
    const units = Int32Array.from({ length: 300 }, (_, row) => Math.floor(row / 10));
    const windows = scoreTargets(units, () => -2);
    const best = threeWayScore(parts, await mixtureWeights(parts), windows).perplexity;
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (a, b) => {
          const other = threeWayScore(parts, [a * 0.99, (1 - a) * b * 0.99], windows);
          expect(best).toBeLessThanOrEqual(other.perplexity * 1.0001);
        },
      ),
    );
  });
});

describe('a fit', () => {
  /** Every target's nearest neighbor has its value with this chance. */
  function table(hits: number, seed: number) {
    const random = new Random(seed);
    const cache = new CachedNeighbors(600, 4);
    for (let row = 0; row < 600; row++) {
      const hit = random.uniform() < hits ? 7 : 8;
      const distances = Float32Array.of(1, 9, 9, 9);
      const values = Uint32Array.of(hit, 9, 10, 11);
      const unit = Math.floor(row / 20);
      cache.append({ lm: [-3], targets: [7], units: [unit], k: 4, distances, values }, 0);
    }
    return cache.table();
  }

  it('is measured on the half it was not tuned on', () => {
    const fit = fitTables({ tuning: table(0.6, 1), reporting: table(0.1, 2) });
    expect(fit.settings.lambda).toBeGreaterThan(0.5);
    expect(fit.lm.perplexity).toBeCloseTo(Math.exp(3), 3);
    const honest = fitTables({ tuning: table(0.1, 3), reporting: table(0.1, 2) });
    expect(fit.mixture.perplexity).toBeGreaterThan(honest.mixture.perplexity);
    expect(honest.covered).toBeCloseTo(0.1, 1);
  });

  it('gives λ an interval that holds it, and every k a score', () => {
    const fit = fitTables({ tuning: table(0.4, 1), reporting: table(0.4, 2) });
    expect(fit.lambdaInterval[0]).toBeLessThan(fit.settings.lambda);
    expect(fit.lambdaInterval[1]).toBeGreaterThan(fit.settings.lambda);
    expect(fit.byK.map(({ settings }) => settings.k)).toEqual([1, 2, 4]);
    expect(fit.byLambda[0]).toEqual({ lambda: 0, perplexity: fit.lm.perplexity });
  });
});

it('a budget is dealt fairly: short documents leave their share to long ones', () => {
  expect(fairLimit([10, 100, 100], 110)).toBe(50);
  expect(fairLimit([10, 20], 100)).toBe(Number.POSITIVE_INFINITY);
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 500 }), { minLength: 1 }),
      fc.integer({ min: 100, max: 5000 }),
      (lengths, most) => {
        const limit = fairLimit(lengths, most);
        const taken = lengths.reduce((sum, length) => sum + Math.min(length, limit), 0);
        expect(taken).toBeLessThanOrEqual(Math.max(most, lengths.length));
      },
    ),
  );
});
