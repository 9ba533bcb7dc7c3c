import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { defaultWindowPlan, planWindows, windowStart } from '../../dist/knnlm/windows.js';

const plans = fc
  .record({
    window: fc.integer({ min: 2, max: 40 }),
    part: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  .map(({ window, part }) => ({ window, stride: Math.max(1, Math.round(window * part)) }));

describe('planWindows', () => {
  it('reads a short document in one window', () => {
    expect([...planWindows(3, { window: 8, stride: 4 })]).toEqual([
      { start: 0, length: 3, seen: 0 },
    ]);
  });

  it('steps by the stride and counts each target in the first window that reaches it', () => {
    expect([...planWindows(11, { window: 4, stride: 2 })]).toEqual([
      { start: 0, length: 4, seen: 0 },
      { start: 2, length: 4, seen: 2 },
      { start: 4, length: 4, seen: 2 },
      { start: 6, length: 4, seen: 2 },
      { start: 8, length: 3, seen: 2 },
    ]);
  });

  it('covers every position exactly once with fresh ones', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), plans, (positions, plan) => {
        const fresh: number[] = [];
        for (const { start, length, seen } of planWindows(positions, plan)) {
          expect(length).toBeLessThanOrEqual(plan.window);
          for (let i = start + seen; i < start + length; i++) fresh.push(i);
        }
        expect(fresh).toEqual(Array.from({ length: positions }, (_, i) => i));
      }),
    );
  });

  it('agrees with windowStart on the context of every position', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300 }), plans, (positions, plan) => {
        for (const { start, length, seen } of planWindows(positions, plan)) {
          for (let i = start + seen; i < start + length; i++)
            expect(windowStart(i, plan)).toBe(start);
        }
      }),
    );
  });
});

it('takes the context of the model, at most 1,024, and half of it by default', () => {
  expect(defaultWindowPlan(512)).toEqual({ window: 512, stride: 256 });
  expect(defaultWindowPlan(8192)).toEqual({ window: 1024, stride: 512 });
  expect(defaultWindowPlan(512, { window: 256, stride: 128 })).toEqual({
    window: 256,
    stride: 128,
  });
});

it('refuses a window beyond the context and a stride beyond the window', () => {
  expect(() => defaultWindowPlan(512, { window: 1024 })).toThrow('512 positions, not 1024');
  expect(() => defaultWindowPlan(512, { window: 1 })).toThrow('not 1');
  expect(() => defaultWindowPlan(512, { window: 100, stride: 101 })).toThrow('not 101');
  expect(() => defaultWindowPlan(512, { stride: 0 })).toThrow('not 0');
});
