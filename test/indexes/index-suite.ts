/** What every index must do, whatever it is made of. The oracle is brute force in double precision. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Neighbors, SearchOptions, VectorIndex } from '../../dist/indexes/vector-index.js';
import type { IdRange } from '../../dist/math/vectors.js';
import { clustered, normals } from './vectors.ts';

export interface SuiteOptions {
  /** Least share of the true neighbors that must be found. Default 1: ids and distances must equal the oracle's. */
  recall?: number;
  /** Largest relative error of a returned distance. Default 0. */
  distanceError?: number;
  /** What is searched lies elsewhere: nothing is held here. */
  isRemote?: boolean;
}

export type MakeIndex = (keys: Float32Array, dim: number) => Promise<VectorIndex>;

const isIn = (ranges: readonly IdRange[] | undefined, id: number) =>
  (ranges ?? []).some(([start, end]) => id >= start && id < end);

/** Squared distances in double precision, rounded once to single; equal ones in ascending id. */
export function bruteForce(
  keys: Float32Array,
  dim: number,
  queries: Float32Array,
  { k, exclude, excludePerQuery }: SearchOptions,
): Neighbors {
  const q = queries.length / dim;
  const n = keys.length / dim;
  const result: Neighbors = {
    k,
    ids: new Int32Array(q * k).fill(-1),
    distances: new Float32Array(q * k).fill(Number.POSITIVE_INFINITY),
  };
  for (let i = 0; i < q; i++) {
    const all: [number, number][] = [];
    for (let id = 0; id < n; id++) {
      if (isIn(exclude, id) || isIn(excludePerQuery?.[i], id)) continue;
      let sum = 0;
      for (let j = 0; j < dim; j++) sum += (queries[i * dim + j]! - keys[id * dim + j]!) ** 2;
      all.push([Math.fround(sum), id]);
    }
    all.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    for (const [j, [distance, id]] of all.slice(0, k).entries()) {
      result.ids[i * k + j] = id;
      result.distances[i * k + j] = distance;
    }
  }
  return result;
}

/** Expects what the index found to be the oracle's answer, to the tolerances. */
export function expectNeighbors(
  found: Neighbors,
  truth: Neighbors,
  { recall = 1, distanceError = 0 }: SuiteOptions = {},
): void {
  expect(found.k).toBe(truth.k);
  if (recall === 1 && distanceError === 0) {
    expect(found.distances).toEqual(truth.distances);
    expect(found.ids).toEqual(truth.ids);
    return;
  }
  let hits = 0;
  let wanted = 0;
  const { k } = truth;
  for (let row = 0; row < truth.ids.length; row += k) {
    const distances = new Map<number, number>();
    for (let j = row; j < row + k && truth.ids[j] !== -1; j++) {
      distances.set(truth.ids[j]!, truth.distances[j]!);
      wanted++;
    }
    const seen = new Set<number>();
    for (let j = row; j < row + k && found.ids[j] !== -1; j++) {
      expect(seen.has(found.ids[j]!)).toBe(false);
      seen.add(found.ids[j]!);
      if (j > row) expect(found.distances[j]).toBeGreaterThanOrEqual(found.distances[j - 1]!);
      const distance = distances.get(found.ids[j]!);
      if (distance === undefined) continue;
      hits++;
      expect(Math.abs(found.distances[j]! - distance)).toBeLessThanOrEqual(
        distanceError * distance,
      );
    }
  }
  expect(hits / Math.max(wanted, 1)).toBeGreaterThanOrEqual(recall);
}

export function indexSuite(name: string, make: MakeIndex, options: SuiteOptions = {}): void {
  describe(name, () => {
    const dim = 20;
    const n = 3000;
    const keys = clustered(n, dim, 12, 1);
    const queries = clustered(9, dim, 12, 2);
    let index: VectorIndex;

    beforeAll(async () => {
      index = await make(keys, dim);
    });
    afterAll(() => index.close());

    const expectTruth = async (searched: Float32Array, search: SearchOptions) =>
      expectNeighbors(
        await index.search(searched, search),
        bruteForce(keys, dim, searched, search),
        options,
      );

    it('says its size and width', () => {
      expect(index.size).toBe(n);
      expect(index.dim).toBe(dim);
      expect(index.memoryBytes > 0).toBe(!options.isRemote);
      expect(index.kind).toMatch(/^[a-z-]+$/);
    });

    it.each([1, 10, 100])('finds the %i nearest keys of one query and of many', async (k) => {
      await expectTruth(queries.subarray(0, dim), { k });
      await expectTruth(queries, { k });
    });

    it('finds a stored key at distance zero', async () => {
      const row = keys.slice(1234 * dim, 1235 * dim);
      const { ids, distances } = await index.search(row, { k: 1 });
      expect([ids[0], distances[0]]).toEqual([1234, 0]);
    });

    it('pads rows with -1 and +Infinity when k exceeds the entries left', async () => {
      const exclude: IdRange[] = [[2, n]];
      const { ids, distances } = await index.search(queries, { k: 4, exclude });
      for (let row = 0; row < ids.length; row += 4) {
        expect([...ids.subarray(row, row + 4)].sort()).toEqual([-1, -1, 0, 1]);
        expect([...ids.subarray(row + 2, row + 4)]).toEqual([-1, -1]);
        expect([...distances.subarray(row + 2, row + 4)]).toEqual([Infinity, Infinity]);
      }
    });

    it('returns all entries, nearest first, when k is larger than their number', async () => {
      const { ids } = await index.search(queries.subarray(0, dim), { k: n + 5 });
      const found = [...ids].filter((id) => id >= 0);
      expect(new Set(found).size).toBe(found.length);
      expect(found.length).toBeGreaterThanOrEqual((options.recall ?? 1) * n);
      expect([...ids.subarray(n)]).toEqual([-1, -1, -1, -1, -1]);
    });

    it('returns nothing when everything is excluded', async () => {
      const { ids } = await index.search(queries, { k: 3, exclude: [[0, n]] });
      expect(ids.every((id) => id === -1)).toBe(true);
    });

    it('leaves excluded ranges out for all queries', async () => {
      const { ids } = await index.search(queries, { k: 50 });
      const near = [...new Set(ids)].sort((a, b) => a - b);
      const exclude = near.filter((_, i) => i % 2 === 0).map((id): IdRange => [id, id + 1]);
      const search = { k: 50, exclude };
      expect((await index.search(queries, search)).ids.some((id) => isIn(exclude, id))).toBe(false);
      await expectTruth(queries, search);
    });

    it('leaves ranges out for single queries, beside those of all', async () => {
      const { ids } = await index.search(queries, { k: 50 });
      const excludePerQuery = Array.from({ length: 9 }, (_, i): IdRange[] =>
        i === 0
          ? []
          : [...ids.subarray(i * 50, i * 50 + 5 * i)]
              .sort((a, b) => a - b)
              .map((id): IdRange => [id, id + 1]),
      );
      await expectTruth(queries, { k: 50, excludePerQuery });
      await expectTruth(queries, { k: 50, excludePerQuery, exclude: [[100, 1500]] });
    });

    it('answers a query the same alone and among others', async () => {
      const together = await index.search(queries, { k: 10 });
      for (let i = 0; i < 9; i++) {
        const alone = await index.search(queries.slice(i * dim, (i + 1) * dim), { k: 10 });
        expect(alone.distances).toEqual(together.distances.slice(i * 10, (i + 1) * 10));
      }
    });

    it('answers searches that run at the same time', async () => {
      const searches = Array.from({ length: 9 }, (_, i) =>
        index.search(queries.slice(i * dim, (i + 1) * dim), { k: 10 }),
      );
      const together = await index.search(queries, { k: 10 });
      for (const [i, found] of (await Promise.all(searches)).entries()) {
        expect(found.ids).toEqual(together.ids.slice(i * 10, (i + 1) * 10));
      }
    });

    it('gives an empty answer to no queries', async () => {
      const { ids, distances } = await index.search(new Float32Array(0), { k: 3 });
      expect([ids.length, distances.length]).toEqual([0, 0]);
    });

    it.each([0, -1, 1.5, Number.NaN])('refuses k = %d', async (k) => {
      await expect(index.search(queries, { k })).rejects.toMatchObject({
        name: 'KnnLMError',
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(`${k}`),
      });
    });

    it('refuses queries of another width, naming both', async () => {
      await expect(index.search(normals(dim + 1, 3), { k: 1 })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(`${dim}`),
      });
    });

    it('refuses queries that are not finite', async () => {
      const bad = queries.slice(0, dim).fill(Number.NaN, 3, 4);
      await expect(index.search(bad, { k: 1 })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    });

    it('refuses unsorted exclusions and a wrong number of lists', async () => {
      const invalid = { code: 'INVALID_ARGUMENT' };
      const unsorted: IdRange[] = [
        [5, 9],
        [1, 2],
      ];
      await expect(index.search(queries, { k: 1, exclude: unsorted })).rejects.toMatchObject(
        invalid,
      );
      await expect(index.search(queries, { k: 1, excludePerQuery: [[]] })).rejects.toMatchObject(
        invalid,
      );
    });

    it('tells the distances of entries that are known without a search', async () => {
      const counts = Uint32Array.of(3, 0, 1, n, 0, 2, 0, 0, 1);
      const ids = Uint32Array.from([
        ...[0, 1234, n - 1, 7],
        ...Array.from({ length: n }, (_, id) => id),
        ...[999, 1000, 5],
      ]);
      const distances = await index.distances(queries, { counts, ids });
      expect(distances.length).toBe(ids.length);
      let at = 0;
      for (const [query, count] of counts.entries()) {
        for (const end = at + count; at < end; at++) {
          let sum = 0;
          for (let j = 0; j < dim; j++)
            sum += (queries[query * dim + j]! - keys[ids[at]! * dim + j]!) ** 2;
          const slack = (options.distanceError ?? 0) * sum;
          expect(Math.abs(distances[at]! - Math.fround(sum))).toBeLessThanOrEqual(slack);
        }
      }
      const nothing = { counts: new Uint32Array(9), ids: new Uint32Array(0) };
      expect(await index.distances(queries, nothing)).toEqual(new Float32Array(0));
    });

    it('stops at an abort signal', async () => {
      const aborted = { name: 'KnnLMError', code: 'ABORTED' };
      const now = AbortSignal.abort();
      await expect(index.search(queries, { k: 1, signal: now })).rejects.toMatchObject(aborted);
    });
  });
}
