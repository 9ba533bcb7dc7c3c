import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import type { KeyDtype } from '../../dist/math/vectors.js';
import { bruteForce, expectNeighbors, indexSuite } from './index-suite.ts';
import { fromHalf, toHalf, writeKeys } from './key-files.ts';
import { clustered, normals } from './vectors.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'knnlm-indexes-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

indexSuite('openIndex over fp32 files read by position', async (keys, dim) => {
  const { sources } = writeKeys(folder, keys, dim, 'fp32');
  return openIndex({ sources, dim, threads: 2, memoryBytes: 0 });
});

it.each<[KeyDtype, number, number]>([
  ['fp16', 2 ** 31, 32],
  ['fp16', 0, 32],
  ['fp16', 2 ** 31, 21],
  ['fp16', 0, 21],
  ['fp32', 2 ** 31, 21],
])(
  'equals brute force over %s files with %i bytes of memory and width %i',
  async (dtype, memoryBytes, dim) => {
    const { sources, stored } = writeKeys(folder, clustered(5000, dim, 10, 1), dim, dtype);
    const queries = clustered(12, dim, 10, 2);
    const index = await openIndex({ sources, dim, threads: 2, memoryBytes });
    const k = 200;
    const exclude = [[1000, 1010] as const];
    const truth = bruteForce(stored, dim, queries, { k, exclude });
    expectNeighbors(await index.search(queries, { k, exclude }), truth);
    const alone = await index.search(queries.slice(0, dim), { k, exclude });
    expect(alone.ids).toEqual(truth.ids.slice(0, k));
    expect(alone.distances).toEqual(truth.distances.slice(0, k));
    await index.close();
  },
);

it('holds fewer bytes when keys stay in their files', async () => {
  const { sources } = writeKeys(folder, normals(20000 * 64, 1), 64, 'fp32');
  const resident = await openIndex({ sources, dim: 64, threads: 1 });
  const light = await openIndex({ sources, dim: 64, threads: 1, memoryBytes: 0 });
  expect(resident.memoryBytes - light.memoryBytes).toBeGreaterThan(0.95 * 20000 * 64 * 4);
  await Promise.all([resident.close(), light.close()]);
});

it('decodes every finite half exactly', async () => {
  const halves = Uint16Array.from({ length: 65536 }, (_, i) => i).filter(
    (h) => (h & 0x7c00) !== 0x7c00,
  );
  const path = join(folder, 'halves.bin');
  writeFileSync(path, halves);
  const source = { path, dtype: 'fp16' as const, count: halves.length / 8, byteOffset: 0 };
  const index = await openIndex({ sources: [source], dim: 8, threads: 1 });
  const keys = Float32Array.from(halves, fromHalf);
  const queries = keys.slice(0, 16);
  const k = source.count;
  expectNeighbors(await index.search(queries, { k }), bruteForce(keys, 8, queries, { k }));
  await index.close();
  for (const half of halves) expect(toHalf(fromHalf(half))).toBe(half);
});

it('equals brute force on any keys, queries, k and exclusions', async () => {
  const numbers = fc.oneof(
    fc.integer({ min: -3, max: 3 }),
    fc.float({ noNaN: true, noDefaultInfinity: true }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 19 }).chain((dim) =>
        fc.record({
          dim: fc.constant(dim),
          keys: fc.array(fc.array(numbers, { minLength: dim, maxLength: dim }), {
            minLength: 1,
            maxLength: 40,
          }),
          queries: fc.array(fc.array(numbers, { minLength: dim, maxLength: dim }), {
            minLength: 1,
            maxLength: 8,
          }),
        }),
      ),
      fc.integer({ min: 1, max: 45 }),
      fc.uniqueArray(fc.integer({ min: 0, max: 50 }), { maxLength: 6 }),
      async ({ dim, keys, queries }, k, cuts) => {
        const stored = Float32Array.from(keys.flat());
        const asked = Float32Array.from(queries.flat());
        const edges = cuts.sort((a, b) => a - b);
        const exclude = edges.flatMap((cut, i) =>
          i % 2 === 1 ? [[edges[i - 1]!, cut] as const] : [],
        );
        const index = await FlatIndex.fromKeys(stored, dim, { threads: 1 });
        const found = await index.search(asked, { k, exclude });
        await index.close();
        expectNeighbors(found, bruteForce(stored, dim, asked, { k, exclude }));
      },
    ),
    { numRuns: 40 },
  );
});

it('opens no keys at all as an index that finds nothing', async () => {
  const index = await openIndex({ sources: [], dim: 4 });
  expect(index.size).toBe(0);
  const { ids, distances } = await index.search(normals(8, 1), { k: 2 });
  expect([...ids]).toEqual([-1, -1, -1, -1]);
  expect([...distances]).toEqual([Infinity, Infinity, Infinity, Infinity]);
  await index.close();
});

it('names a key file that is missing', async () => {
  const path = join(folder, 'missing.bin');
  const sources = [{ path, dtype: 'fp16' as const, count: 10, byteOffset: 0 }];
  await expect(openIndex({ sources, dim: 4, threads: 1 })).rejects.toMatchObject({
    name: 'KnnLMError',
    code: 'IO',
    message: expect.stringContaining(path),
  });
});

it('says where a key file ends too early', async () => {
  const { sources } = writeKeys(folder, normals(3000, 1), 10, 'fp32');
  truncateSync(sources[1]!.path, 1000);
  await expect(openIndex({ sources, dim: 10, threads: 1 })).rejects.toMatchObject({
    code: 'STORE_CORRUPT',
    message: expect.stringContaining('ends at byte 1000'),
  });
});

it.each([
  ['fp16', Number.NaN],
  ['fp16', Number.POSITIVE_INFINITY],
  ['fp32', Number.NaN],
  ['fp32', Number.NEGATIVE_INFINITY],
] as const)('refuses %s keys that hold %d', async (dtype, value) => {
  const keys = normals(3000 * 10, 1);
  const path = join(folder, 'bad.bin');
  const halves = Uint16Array.from(keys, toHalf);
  halves[25004] = Number.isNaN(value) ? 0x7e00 : 0x7c00;
  keys[25004] = value;
  writeFileSync(path, dtype === 'fp16' ? halves : keys);
  const sources = [{ path, dtype, count: 3000, byteOffset: 0 }];
  await expect(openIndex({ sources, dim: 10, threads: 1 })).rejects.toMatchObject({
    code: 'STORE_CORRUPT',
    message: expect.stringContaining('not finite'),
  });
});

it('refuses a mixture of dtypes, a width of 0 and half a thread', async () => {
  const fp16 = { path: 'a', dtype: 'fp16' as const, count: 1, byteOffset: 0 };
  const invalid = { code: 'INVALID_ARGUMENT' };
  const mixed = [fp16, { ...fp16, dtype: 'fp32' as const }];
  await expect(openIndex({ sources: mixed, dim: 4 })).rejects.toMatchObject(invalid);
  await expect(openIndex({ sources: [fp16], dim: 0 })).rejects.toMatchObject(invalid);
  await expect(openIndex({ sources: [fp16], dim: 4, threads: 0.5 })).rejects.toMatchObject(invalid);
  await expect(FlatIndex.fromKeys(new Float32Array(7), 4)).rejects.toMatchObject(invalid);
});

it('stops opening and searching at an abort signal', async () => {
  const { sources } = writeKeys(folder, normals(30000 * 32, 1), 32, 'fp32');
  const aborted = { code: 'ABORTED' };
  const signal = AbortSignal.abort();
  await expect(openIndex({ sources, dim: 32, signal })).rejects.toMatchObject(aborted);
  const index = await openIndex({ sources, dim: 32, threads: 1 });
  const controller = new AbortController();
  const search = index.search(normals(2000 * 32, 2), { k: 10, signal: controller.signal });
  setTimeout(() => controller.abort(), 5);
  await expect(search).rejects.toMatchObject(aborted);
  const after = await index.search(normals(32, 2), { k: 1 });
  expect(after.ids[0]).toBeGreaterThanOrEqual(0);
  const closing = index.search(normals(2000 * 32, 2), { k: 10 });
  await Promise.all([expect(closing).rejects.toMatchObject(aborted), index.close()]);
});
