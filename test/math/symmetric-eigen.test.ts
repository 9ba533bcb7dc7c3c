import fc from 'fast-check';
import { expect, it } from 'vitest';
import { symmetricEigen } from '../../dist/math/symmetric-eigen.js';

const product = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  Array.from(a, (x, i) => x * b[i]!).reduce((sum, x) => sum + x, 0);

it('takes a symmetric matrix apart into orthonormal vectors and their values, largest first', () => {
  const matrices = fc
    .integer({ min: 1, max: 12 })
    .chain((n) =>
      fc.array(fc.integer({ min: -9, max: 9 }), { minLength: n * n, maxLength: n * n }),
    );
  fc.assert(
    fc.property(matrices, (numbers) => {
      const n = Math.sqrt(numbers.length);
      const matrix = Float64Array.from(numbers, (_, at) => {
        const [i, j] = [Math.floor(at / n), at % n];
        return numbers[Math.min(i, j) * n + Math.max(i, j)]!;
      });
      const { values, vectors } = symmetricEigen(matrix.slice(), n);
      expect([...values]).toEqual([...values].sort((a, b) => b - a));
      for (let i = 0; i < n; i++) {
        const v = vectors.subarray(i * n, (i + 1) * n);
        for (let r = 0; r < n; r++) {
          const row = matrix.subarray(r * n, (r + 1) * n);
          expect(product(row, v)).toBeCloseTo(values[i]! * v[r]!, 9);
          const other = vectors.subarray(r * n, (r + 1) * n);
          expect(product(v, other)).toBeCloseTo(r === i ? 1 : 0, 9);
        }
      }
    }),
    { numRuns: 60 },
  );
});

it('knows the values of a chain of springs', () => {
  const n = 40;
  const chain = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    chain[i * n + i] = 2;
    if (i > 0) chain[i * n + i - 1] = chain[(i - 1) * n + i] = -1;
  }
  const { values } = symmetricEigen(chain, n);
  for (const [i, value] of values.entries()) {
    expect(value).toBeCloseTo(2 + 2 * Math.cos(((i + 1) * Math.PI) / (n + 1)), 12);
  }
});
