import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import {
  checkSettings,
  interpolate,
  knnLogProbOf,
  knnLogProbs,
  mixture,
  neighborWeights,
} from '../../dist/knnlm/interpolate.js';

/** Two votes for token 4 and one for 7, distances worked by hand. */
const row = { distances: [1, 2, 3], values: [4, 7, 4] };
const z = Math.exp(-1) + Math.exp(-2) + Math.exp(-3);

const rows = fc
  .array(fc.record({ distance: fc.double({ min: 0, max: 1e4, noNaN: true }), value: fc.nat(9) }), {
    minLength: 1,
    maxLength: 40,
  })
  .map((entries) => ({
    distances: entries.map(({ distance }) => distance),
    values: entries.map(({ value }) => value),
  }));
const temperatures = fc.double({ min: 0.01, max: 1000, noNaN: true });
const lmOf = (scores: number[]): Float32Array => {
  const sum = scores.reduce((a, b) => a + Math.exp(b), 0);
  return Float32Array.from(scores, (score) => score - Math.log(sum));
};
const lms = fc
  .array(fc.double({ min: -20, max: 5, noNaN: true }), { minLength: 10, maxLength: 10 })
  .map(lmOf);

describe('knnLogProbs', () => {
  it('adds up the softmax weights of equal values', () => {
    const votes = knnLogProbs(row, 1);
    expect(votes.get(4)).toBeCloseTo(Math.log((Math.exp(-1) + Math.exp(-3)) / z), 12);
    expect(votes.get(7)).toBeCloseTo(Math.log(Math.exp(-2) / z), 12);
    expect(votes.size).toBe(2);
  });

  it('divides distances by the temperature', () => {
    const votes = knnLogProbs({ distances: [0, 8], values: [1, 2] }, 8);
    expect(votes.get(2)).toBeCloseTo(Math.log(Math.exp(-1) / (1 + Math.exp(-1))), 12);
  });

  it('does not depend on the order of neighbors', () => {
    fc.assert(
      fc.property(rows, temperatures, (neighbors, temperature) => {
        const reversed = {
          distances: [...neighbors.distances].reverse(),
          values: [...neighbors.values].reverse(),
        };
        const votes = knnLogProbs(neighbors, temperature);
        for (const [value, logProb] of knnLogProbs(reversed, temperature)) {
          expect(logProb).toBeCloseTo(votes.get(value)!, 9);
        }
      }),
    );
  });

  it('ignores padding and gives no vote when all is padding', () => {
    const padded = { distances: [1, Infinity], values: [3, 0] };
    expect([...knnLogProbs(padded, 1)]).toEqual([[3, 0]]);
    expect(knnLogProbs({ distances: [Infinity], values: [0] }, 1).size).toBe(0);
    expect(knnLogProbOf(0, { distances: [Infinity], values: [0] }, 1)).toBe(-Infinity);
    expect([...neighborWeights([Infinity, Infinity], 1)]).toEqual([0, 0]);
  });

  it('agrees with the probability of a single target', () => {
    fc.assert(
      fc.property(rows, temperatures, fc.nat(12), (neighbors, temperature, target) => {
        const logProb = knnLogProbs(neighbors, temperature).get(target) ?? -Infinity;
        const single = knnLogProbOf(target, neighbors, temperature);
        if (logProb === -Infinity) expect(single).toBe(-Infinity);
        else expect(single).toBeCloseTo(logProb, 9);
      }),
    );
  });

  it('survives distances that would underflow without the shift by the nearest', () => {
    const votes = knnLogProbs({ distances: [1e6, 1e6 + 1], values: [1, 2] }, 1);
    expect(votes.get(1)).toBeCloseTo(-Math.log(1 + Math.exp(-1)), 9);
  });
});

describe('interpolate', () => {
  it('returns the base model exactly when lambda is 0', () => {
    fc.assert(
      fc.property(lms, rows, (lm, neighbors) => {
        const out = mixture(lm, knnLogProbs(neighbors, 1), 0);
        expect([...out]).toEqual([...lm]);
        expect(interpolate(-3.25, -1, 0)).toBe(-3.25);
      }),
    );
  });

  it('returns the neighbors alone when lambda is 1', () => {
    const lm = lmOf([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const votes = knnLogProbs(row, 1);
    const out = mixture(lm, votes, 1);
    expect(out[4]).toBe(Math.fround(votes.get(4)!));
    expect(out[0]).toBe(-Infinity);
    expect(interpolate(-3.25, -Infinity, 1)).toBe(-Infinity);
  });

  it('leaves (1 - lambda) p_LM to tokens without a vote', () => {
    expect(interpolate(Math.log(0.5), -Infinity, 0.25)).toBeCloseTo(Math.log(0.375), 12);
  });

  it('sums to 1 for any lambda, temperature and neighbors', () => {
    const lambdas = fc.double({ min: 0, max: 1, noNaN: true });
    fc.assert(
      fc.property(lms, rows, temperatures, lambdas, (lm, neighbors, temperature, lambda) => {
        const out = mixture(lm, knnLogProbs(neighbors, temperature), lambda);
        const sum = out.reduce((total, logProb) => total + Math.exp(logProb), 0);
        expect(sum).toBeCloseTo(1, 5);
      }),
    );
  });

  it('is the model alone when nothing was retrieved', () => {
    const lm = lmOf([1, 2, 3]);
    expect(mixture(lm, new Map(), 0.5)).toBe(lm);
  });
});

it('refuses settings outside their range, with the value seen', () => {
  const good = { k: 8, lambda: 0.5, temperature: 1 };
  expect(checkSettings(good)).toBe(good);
  for (const bad of [
    { k: 0 },
    { k: 1.5 },
    { lambda: -0.1 },
    { lambda: 1.01 },
    { lambda: Number.NaN },
    { temperature: 0 },
    { temperature: Infinity },
  ]) {
    const [value] = Object.values(bad);
    expect(() => checkSettings({ ...good, ...bad })).toThrow(KnnLMError);
    expect(() => checkSettings({ ...good, ...bad })).toThrow(String(value));
  }
});
