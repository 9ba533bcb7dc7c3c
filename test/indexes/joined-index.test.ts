import { expect, it } from 'vitest';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { JoinedIndex } from '../../dist/indexes/joined-index.js';
import { bruteForce, expectNeighbors, indexSuite } from './index-suite.ts';
import { normals } from './vectors.ts';

/** Keys cut into parts after so many rows. */
async function joined(keys: Float32Array, dim: number, cuts: readonly number[]) {
  const edges = [0, ...cuts, keys.length / dim];
  return new JoinedIndex(
    await Promise.all(
      edges.slice(1).map((end, i) => {
        const rows = keys.subarray(edges[i]! * dim, end * dim);
        return FlatIndex.fromKeys(rows, dim, { threads: 1 });
      }),
    ),
  );
}

indexSuite('JoinedIndex of three parts', (keys, dim) => {
  const n = keys.length / dim;
  return joined(keys, dim, [Math.floor(n / 3), Math.floor(n / 2)]);
});

it('answers as one index would, with parts smaller than k, empty ones, and ranges across borders', async () => {
  const dim = 16;
  const keys = normals(700 * dim, 1);
  // The same key on both sides of a border: the lower id comes first.
  keys.copyWithin(600 * dim, 10 * dim, 11 * dim);
  const queries = keys.slice(10 * dim, 15 * dim);
  const index = await joined(keys, dim, [3, 3, 600]);
  try {
    const options = {
      k: 650,
      exclude: [
        [1, 5],
        [590, 610],
      ] as [number, number][],
      excludePerQuery: Array.from({ length: 5 }, (_, i) => [[i, i + 20]] as [number, number][]),
    };
    expectNeighbors(await index.search(queries, options), bruteForce(keys, dim, queries, options));
    const all = { k: 3 };
    const found = await index.search(queries, all);
    expectNeighbors(found, bruteForce(keys, dim, queries, all));
    expect([...found.ids.subarray(0, 2)]).toEqual([10, 600]);
    expect([index.size, index.dim, index.kind]).toEqual([700, dim, 'flat']);
  } finally {
    await index.close();
  }
});
