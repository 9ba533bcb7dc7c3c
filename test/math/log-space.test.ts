import fc from 'fast-check';
import { expect, it } from 'vitest';
import { logAddExp, logSumExp } from '../../dist/math/log-space.js';

const logProb = fc.double({ min: -700, max: 0, noNaN: true });

it('adds probabilities in log space', () => {
  fc.assert(
    fc.property(logProb, logProb, (a, b) => {
      expect(logAddExp(a, b)).toBeCloseTo(Math.log(Math.exp(a) + Math.exp(b)), 10);
    }),
  );
});

it('treats -Infinity as probability zero, never as NaN', () => {
  expect(logAddExp(-Infinity, -1.5)).toBe(-1.5);
  expect(logAddExp(-1.5, -Infinity)).toBe(-1.5);
  expect(logAddExp(-Infinity, -Infinity)).toBe(-Infinity);
  expect(logSumExp([])).toBe(-Infinity);
  expect(logSumExp([-Infinity, -2])).toBe(-2);
});

it('does not overflow where plain exponentials would', () => {
  expect(logSumExp([1000, 1000])).toBeCloseTo(1000 + Math.LN2, 10);
  expect(logSumExp([-1000, -1000])).toBeCloseTo(-1000 + Math.LN2, 10);
});
