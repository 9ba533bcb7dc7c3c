import { expect, it } from 'vitest';
import { Pace } from '../../dist/model/decoding/pace.js';

/** How long one is waited for after its answer, in milliseconds. */
const patienceAfter = (aways: readonly number[]): number => {
  const pace = new Pace();
  for (const away of aways) pace.note(away);
  return pace.patience(1000) - 1000;
};
const times = (count: number, away: number): number[] => Array<number>(count).fill(away);

it('waits for twice as long as texts usually take', () => {
  expect(patienceAfter([])).toBe(1);
  expect(patienceAfter(times(400, 10))).toBeCloseTo(21, 0);
});

it('learns what is usual now', () => {
  expect(patienceAfter([...times(400, 2), ...times(400, 30)])).toBeCloseTo(61, 0);
  expect(patienceAfter([...times(400, 30), ...times(400, 2)])).toBeCloseTo(5, 0);
});

it('does not take one whose reader pauses for what is usual', () => {
  const mixed = times(400, 4).map((away, i) => (i % 10 === 0 ? 60_000 : away));
  expect(patienceAfter(mixed)).toBeLessThan(20);
});

it('waits no longer than a tenth of a second', () => {
  expect(patienceAfter(times(1000, 500))).toBe(100);
});
