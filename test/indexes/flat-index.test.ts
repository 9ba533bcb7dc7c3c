import { expect, it } from 'vitest';
import { allocateChunk, chunkLayout } from '../../dist/indexes/chunk.js';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { bruteForce, expectNeighbors, indexSuite } from './index-suite.ts';
import { clustered, normals } from './vectors.ts';

indexSuite('FlatIndex over keys in memory', (keys, dim) =>
  FlatIndex.fromKeys(keys, dim, { threads: 2 }),
);

/** Data sets that would break a search which only hopes that its codes are good enough. */
const dataSets: Record<string, { dim: number; keys: Float32Array; queries: Float32Array }> = {
  'normal keys': { dim: 32, keys: normals(6000 * 32, 1), queries: normals(12 * 32, 2) },
  'clustered keys': {
    dim: 48,
    keys: clustered(5000, 48, 40, 3),
    queries: clustered(12, 48, 40, 4),
  },
  'a width of 1': { dim: 1, keys: normals(5000, 5), queries: normals(12, 6) },
  'a width that is no multiple of 16': {
    dim: 37,
    keys: normals(3000 * 37, 7),
    queries: normals(12 * 37, 8),
  },
  'keys that are all the same': {
    dim: 8,
    keys: new Float32Array(5000 * 8).fill(0.7),
    queries: normals(12 * 8, 9),
  },
  'keys that are all zero': { dim: 8, keys: new Float32Array(5000 * 8), queries: normals(96, 10) },
  'many duplicates': {
    dim: 16,
    keys: normals(5000 * 16, 11).map((x) => Math.round(x / 2)),
    queries: normals(12 * 16, 12).map((x) => Math.round(x)),
  },
  'a few dominant dimensions with large offsets': {
    dim: 64,
    keys: normals(5000 * 64, 13).map((x, i) => (i % 64 < 4 ? 12 * x + 15 * ((i % 64) + 1) : x)),
    queries: normals(12 * 64, 14).map((x, i) => (i % 64 < 4 ? 12 * x + 15 * ((i % 64) + 1) : x)),
  },
  'large numbers': {
    dim: 24,
    keys: normals(5000 * 24, 15).map((x) => x * 1e12),
    queries: normals(12 * 24, 16).map((x) => x * 1e12),
  },
  'numbers whose squares overflow single precision': {
    dim: 24,
    keys: normals(3000 * 24, 17).map((x) => x * 1e25),
    queries: normals(12 * 24, 18).map((x) => x * 1e25),
  },
  'small numbers': {
    dim: 24,
    keys: normals(5000 * 24, 19).map((x) => x * 1e-12),
    queries: normals(12 * 24, 20).map((x) => x * 1e-12),
  },
  'numbers whose squares vanish in single precision': {
    dim: 24,
    keys: normals(3000 * 24, 21).map((x) => x * 1e-25),
    queries: normals(12 * 24, 22).map((x) => x * 1e-25),
  },
  'a far outlier': {
    dim: 24,
    keys: normals(5000 * 24, 23).map((x, i) => (i < 24 ? x * 1e7 : x)),
    queries: normals(12 * 24, 24).map((x, i) => (i < 24 ? x * 1e7 : x)),
  },
  'an outlier beyond the codes': {
    dim: 24,
    keys: normals(5000 * 24, 25).map((x, i) => (i >= 2400 && i < 2424 ? x * 1e30 : x)),
    queries: normals(12 * 24, 26),
  },
  'queries far from all keys': {
    dim: 24,
    keys: normals(5000 * 24, 27),
    queries: normals(12 * 24, 28).map((x) => x + 1e4),
  },
  'a dimension that is constant almost everywhere': {
    dim: 16,
    keys: normals(5000 * 16, 29).map((x, i) => (i % 16 > 0 ? x : i === 16 * 4321 ? 50 : 3)),
    queries: normals(12 * 16, 30).map((x, i) => (i % 16 > 0 ? x : 3)),
  },
};

it.each(Object.keys(dataSets))('equals brute force on %s', async (name) => {
  const { dim, keys, queries } = dataSets[name]!;
  const index = await FlatIndex.fromKeys(keys, dim, { threads: 2 });
  for (const k of [1, 60]) {
    const truth = bruteForce(keys, dim, queries, { k });
    // Twelve queries go through a matrix product, two through the SIMD kernels.
    expectNeighbors(await index.search(queries, { k }), truth);
    expectNeighbors(await index.search(queries.slice(0, 2 * dim), { k }), {
      k,
      ids: truth.ids.slice(0, 2 * k),
      distances: truth.distances.slice(0, 2 * k),
    });
  }
  await index.close();
});

it('holds a single key', async () => {
  const index = await FlatIndex.fromKeys(Float32Array.of(1, 2, 3), 3);
  const { ids, distances } = await index.search(Float32Array.of(1, 2, 5), { k: 2 });
  expect([...ids]).toEqual([0, -1]);
  expect([...distances]).toEqual([4, Infinity]);
  await index.close();
});

it.each([1, 12])('is exact when its sample misleads it (%i queries)', async (q) => {
  const dim = 16;
  const n = 8000;
  const { sample } = allocateChunk(
    0,
    chunkLayout(n, { dim, dtype: 'fp32', resident: true, threads: 2 }),
  );
  // Half the sample, but few of the other keys, lie near the queries: the guessed radius holds fewer than k keys.
  const keys = normals(n * dim, 1).map((x) => 3 * x);
  for (const row of sample.filter((_, i) => i % 2 === 0)) {
    for (let j = 0; j < dim; j++) keys[row * dim + j]! /= 3;
  }
  const queries = normals(q * dim, 2).map((x) => x / 3);
  const index = await FlatIndex.fromKeys(keys, dim, { threads: 2 });
  for (const k of [300, 2000]) {
    expectNeighbors(await index.search(queries, { k }), bruteForce(keys, dim, queries, { k }));
  }
  await index.close();
});

it('may be closed while its first batch is under way, whatever a worker is loading then', async () => {
  const keys = normals(500 * 16, 31);
  for (let ms = 0; ms <= 60; ms += 12) {
    const index = await FlatIndex.fromKeys(keys, 16, { threads: 1 });
    const searching = index.search(keys.slice(0, 64 * 16), { k: 4 }).catch((error) => error.code);
    await new Promise((resolve) => setTimeout(resolve, ms));
    await index.close();
    const ended = await searching;
    if (typeof ended === 'string') expect(ended).toBe('ABORTED');
    else expect(ended.ids).toHaveLength(256);
  }
});
