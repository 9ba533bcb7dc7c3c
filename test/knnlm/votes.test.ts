import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Groups } from '../../dist/knnlm/groups.js';
import { votesOf } from '../../dist/knnlm/votes.js';

const token = fc.oneof(fc.nat(20), fc.nat(300_000), fc.constantFrom(0, 2 ** 31, 2 ** 32 - 1));

it('tokens are numbered as they come, in every round anew, however many there are', () => {
  const groups = new Groups();
  fc.assert(
    fc.property(fc.array(token), fc.array(token, { minLength: 1 }), (tokens, others) => {
      groups.clear();
      const numbers = new Map<number, number>();
      for (const one of tokens) {
        if (!numbers.has(one)) numbers.set(one, numbers.size);
        expect(groups.of(one)).toBe(numbers.get(one));
      }
      expect(groups.size).toBe(numbers.size);
      for (const one of others) expect(groups.find(one)).toBe(numbers.get(one) ?? -1);
    }),
  );
  groups.clear();
  for (let one = 0; one < 5000; one++) expect(groups.of(7 * one)).toBe(one);
  for (let one = 0; one < 5000; one++) expect(groups.find(7 * one)).toBe(one);
  groups.clear();
  expect(groups.find(7)).toBe(-1);
});

it('the groups of many are written where there is room, else elsewhere', () => {
  const groups = new Groups();
  const room = new Uint16Array(3);
  expect(groups.ofAll([5, 9, 5], 3, room)).toBe(room);
  expect([...room]).toEqual([0, 1, 0]);
  const larger = groups.ofAll([9, 5, 2, 9], 4, room);
  expect([...larger.subarray(0, 4)]).toEqual([1, 0, 2, 1]);
});

it('votes add up by token, in the order in which they come, padding left out', () => {
  const voter = fc.record({
    token,
    weight: fc.double({ min: 1e-9, max: 1, noNaN: true }),
    isPadding: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(voter), (voters) => {
      const votes = votesOf(
        {
          distances: voters.map(({ isPadding }) => (isPadding ? Infinity : 1)),
          values: voters.map((one) => one.token),
        },
        Float64Array.from(voters, ({ weight }) => weight),
      );
      const sums = new Map<number, number>();
      for (const { token, weight, isPadding } of voters)
        if (!isPadding) sums.set(token, (sums.get(token) ?? 0) + weight);
      expect(votes.tokens).toEqual([...sums.keys()]);
      expect(votes.size).toBe(sums.size);
      expect(votes.logProbs).toEqual([...sums.values()].map(Math.log));
      for (const { token } of voters)
        expect(votes.of(token)).toBe(sums.has(token) ? Math.log(sums.get(token)!) : -Infinity);
    }),
  );
});
