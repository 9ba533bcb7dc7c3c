/** What a server proposed, ranked by the keys that are here. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KeyRanker } from '../../dist/indexes/key-ranker.js';
import { rankHits } from '../../dist/indexes/milvus/exact-distances.js';
import { type Hits, rankByDistance, readHits } from '../../dist/indexes/milvus/hits.js';
import { squaredDistance } from '../../dist/math/vectors.js';
import { writeKeys } from './key-files.ts';
import { clustered, uniform } from './vectors.ts';

const [n, dim] = [3000, 12];

describe('hits of a server', () => {
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-hits-'));
  afterAll(() => rmSync(folder, { recursive: true }));

  const keys = clustered(n, dim, 20, 1);
  // Contexts that are the same, as in repeated text.
  for (let row = 500; row < 900; row++) keys.copyWithin(row * dim, 499 * dim, 500 * dim);
  const { sources, stored } = writeKeys(folder, keys, dim, 'fp16');
  const next = uniform(7);

  /** Entries in any order, with distances that are wrong. */
  const proposed = (count: number): Hits => {
    const ids = new Set<number>();
    while (ids.size < count) ids.add(Math.floor(next() * n));
    return {
      ids: Uint32Array.from(ids),
      distances: Float32Array.from({ length: count }, next),
      values: new Uint32Array(count),
    };
  };

  it.each([
    ['one query, shared out to three workers', 3, [1500]],
    ['a few queries, one of them without any', 2, [700, 0, 33, 1]],
    ['many queries, read in one go', 2, Array.from({ length: 70 }, (_, q) => 10 + q)],
  ])('are ranked by the keys: %s', async (_, threads, counts) => {
    const ranker = await KeyRanker.open(sources, dim, threads);
    const queries = clustered(counts.length, dim, 20, 2);
    const found = counts.map(proposed);
    const ranked = await rankHits(ranker, { queries, found });
    await ranker.close();
    expect(ranked.length).toBe(counts.length);
    for (const [q, { ids }] of found.entries()) {
      const query = queries.subarray(q * dim, (q + 1) * dim);
      const distance = (id: number) =>
        Math.fround(squaredDistance(query, stored.subarray(id * dim, (id + 1) * dim)));
      const wanted = [...ids].sort((a, b) => distance(a) - distance(b) || a - b);
      expect(Array.from(ranked[q]!.places, (place) => ids[place])).toEqual(wanted);
      for (const [i, id] of wanted.entries())
        expect(ranked[q]!.distances[i]).toBeCloseTo(distance(id), 4);
    }
  });

  it('are read without those that are not wanted, and put in order', () => {
    const first = 3 * 2 ** 31;
    const row = (entry: number, score: number) => ({
      id: `${first + entry}`,
      score,
      value: `${entry + 1}`,
    });
    const rows = [row(9, 1), row(-1, 1), row(4, 1), row(7, 2), row(2, 0.5)];
    const hits = readHits(rows, first, (entry) => entry >= 0 && entry !== 7);
    expect([...hits.ids]).toEqual([9, 4, 2]);
    expect([...hits.values]).toEqual([10, 5, 3]);
    const { places, distances } = rankByDistance(hits);
    expect(Array.from(places, (place) => hits.ids[place])).toEqual([2, 4, 9]);
    expect([...distances]).toEqual([0.5, 1, 1]);
  });
});
