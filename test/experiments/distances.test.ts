import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InnerProductIndex } from '../../dist/experiments/inner-product-index.js';
import { quantizeKeys } from '../../dist/experiments/quantize.js';
import { Random } from '../../dist/math/random.js';

function vectors(n: number, dim: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: n * dim }, () => 2 * random.uniform() - 1);
}

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, x, i) => sum + x * b[i]!, 0);

describe('search by inner product', () => {
  it('finds the largest inner products, and distances differ from -2 q·k by one constant per query', async () => {
    const dim = 8;
    const keys = vectors(200, dim, 1);
    for (let i = 0; i < 40; i++) keys[i] = keys[i]! * 5;
    const index = await InnerProductIndex.fromKeys(keys, dim);
    try {
      const queries = vectors(10, dim, 2);
      const { ids, distances } = await index.search(queries, { k: 5 });
      for (let q = 0; q < 10; q++) {
        const query = queries.subarray(q * dim, (q + 1) * dim);
        const products = Array.from({ length: 200 }, (_, i) =>
          dot(query, keys.subarray(i * dim, (i + 1) * dim)),
        );
        const best = [...products].sort((a, b) => b - a).slice(0, 5);
        const found = Array.from(ids.subarray(q * 5, q * 5 + 5), (id) => products[id]!);
        found.forEach((product, i) => {
          expect(product).toBeCloseTo(best[i]!, 5);
          const constant = distances[q * 5]! + 2 * found[0]!;
          expect(distances[q * 5 + i]! + 2 * product).toBeCloseTo(constant, 3);
        });
      }
    } finally {
      await index.close();
    }
  });
});

describe('quantized keys', () => {
  it('have at most 2^b values per dimension and lose less with more bits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 1, max: 1000 }), async (seed) => {
        const keys = vectors(300, 4, seed);
        let before = Number.POSITIVE_INFINITY;
        for (const bits of [1, 2, 4, 8]) {
          const coarse = await quantizeKeys(keys, 4, bits);
          const values = new Set(coarse.filter((_, i) => i % 4 === 0));
          expect(values.size).toBeLessThanOrEqual(2 ** bits);
          const error = keys.reduce((sum, x, i) => sum + (x - coarse[i]!) ** 2, 0);
          expect(error).toBeLessThan(before);
          before = error;
        }
      }),
      { numRuns: 10 },
    );
  });
});
