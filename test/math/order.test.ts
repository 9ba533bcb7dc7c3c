import fc from 'fast-check';
import { expect, it } from 'vitest';
import { sortedBy, sortedByFloat } from '../../dist/math/order.js';

const placesOf = (values: readonly number[]) => values.map((_, i) => i);

it('sorts places by whole numbers, equal ones by place', () => {
  const id = fc.nat(2 ** 31 - 1);
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.nat(3), id)), (values) => {
      const expected = placesOf(values).sort((a, b) => values[a]! - values[b]! || a - b);
      expect(sortedBy(placesOf(values), values)).toEqual(expected);
    }),
  );
});

it('sorts places by numbers in single precision, either way, both zeros and infinities among them', () => {
  const some = fc.constantFrom(0, -0, 1, -1, Infinity, -Infinity, 2 ** -149, -(2 ** -149));
  const value = fc.oneof(some, fc.float({ noNaN: true }));
  fc.assert(
    fc.property(fc.array(value), fc.constantFrom(1 as const, -1 as const), (values, sign) => {
      const compare = (a: number, b: number): number =>
        values[a]! < values[b]! ? -sign : values[a]! > values[b]! ? sign : a - b;
      const expected = placesOf(values).sort(compare);
      expect(sortedByFloat(placesOf(values), Float32Array.from(values), sign)).toEqual(expected);
    }),
    { numRuns: 300 },
  );
});

it('sorts those places alone that it is given', () => {
  expect(sortedByFloat([4, 0, 2], [0.5, 9, -3, 9, 0.5])).toEqual([2, 0, 4]);
});
