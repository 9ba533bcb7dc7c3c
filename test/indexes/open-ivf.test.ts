import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { readHeader, writeHeader } from '../../dist/indexes/ivf/ivf-header.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { type Judgment, type Trial, tuneIvf } from '../../dist/indexes/ivf/tune-ivf.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import { readKeys } from '../../dist/indexes/read-keys.js';
import type { Neighbors } from '../../dist/indexes/vector-index.js';
import { bruteForce, expectNeighbors, indexSuite } from './index-suite.ts';
import { writeKeys } from './key-files.ts';
import { clustered } from './vectors.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'knnlm-open-ivf-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folders = 0;
/** Two key files of which the first or both are indexed, to be searched in full and compared exactly. */
async function prepared(keys: Float32Array, dim: number, files: 1 | 2) {
  const folder = mkdtempSync(join(root, `${folders++}-`));
  const { sources, stored } = writeKeys(folder, keys, dim, 'fp32');
  const indexFolder = join(folder, 'index');
  const indexed = sources.slice(0, files);
  const header = await buildIvf({ folder: indexFolder, sources: indexed, dim, lists: 12 });
  header.settings = { probes: 1000, rerank: 16, spreadWeight: 0.5 };
  await writeHeader(indexFolder, header);
  return { sources, stored, indexFolder };
}

indexSuite('an inverted file with newer keys searched exactly beside it', async (keys, dim) => {
  const { sources, indexFolder } = await prepared(keys, dim, 1);
  return openIndex({ sources, dim, indexFolder, threads: 2 });
});

describe('openIndex', () => {
  const dim = 16;
  const keys = clustered(3000, dim, 20, 1);
  const query = clustered(1, dim, 20, 2);

  it('takes the inverted file where there is one, and exact search where not', async () => {
    const { sources, indexFolder } = await prepared(keys, dim, 2);
    const kindOf = async (folder?: string) => {
      const index = await openIndex({ sources, dim, indexFolder: folder, threads: 1 });
      await index.close();
      return index.kind;
    };
    expect(await kindOf(indexFolder)).toBe('ivf');
    expect(await kindOf(join(indexFolder, 'nothing'))).toBe('flat');
    expect(await kindOf()).toBe('flat');
  });

  it('searches keys that were added to the last indexed file', async () => {
    const { sources, indexFolder, stored } = await prepared(keys, dim, 1);
    const [first, second] = sources as [(typeof sources)[0], (typeof sources)[0]];
    // The first file as it was indexed, then both files' rows in one.
    const joined = Buffer.concat([
      readFileSync(first.path),
      readFileSync(second.path).subarray(second.byteOffset),
    ]);
    writeFileSync(first.path, joined);
    const index = await openIndex({
      sources: [{ ...first, count: first.count + second.count }],
      dim,
      indexFolder,
      threads: 1,
    });
    const found = await index.search(query, { k: 40 });
    expectNeighbors(found, bruteForce(stored, dim, query, { k: 40 }));
    await index.close();
  });

  it('refuses an index of other keys', async () => {
    const { sources, indexFolder } = await prepared(keys, dim, 1);
    const stale = {
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(/other keys.*knnlm index/s),
    };
    const fewer = [{ ...sources[0]!, count: sources[0]!.count - 1 }];
    await expect(openIndex({ sources: fewer, dim, indexFolder })).rejects.toMatchObject(stale);
    const bytes = readFileSync(sources[0]!.path);
    bytes[7]! ^= 1;
    writeFileSync(sources[0]!.path, bytes);
    await expect(openIndex({ sources, dim, indexFolder })).rejects.toMatchObject(stale);
  });
});

it('reads the keys of entries across files', async () => {
  const dim = 7;
  const keys = clustered(30, dim, 3, 5);
  for (const dtype of ['fp16', 'fp32'] as const) {
    const { sources, stored } = writeKeys(root, keys, dim, dtype);
    const ids = [0, 3, 9, 10, 11, 29];
    const expected = ids.flatMap((id) => [...stored.subarray(id * dim, (id + 1) * dim)]);
    expect([...(await readKeys(sources, dim, ids))]).toEqual(expected);
  }
});

describe('tuneIvf', () => {
  const dim = 16;
  const keys = clustered(4000, dim, 200, 6);
  const queries = clustered(30, dim, 200, 7);
  const missed = (found: Neighbors, truth: Neighbors): Judgment => {
    let misses = 0;
    for (let row = 0; row < truth.ids.length; row += truth.k) {
      const seen = new Set(found.ids.subarray(row, row + truth.k));
      for (const id of truth.ids.subarray(row, row + truth.k)) if (!seen.has(id)) misses++;
    }
    return { error: misses / truth.ids.length, standardError: 0.01 };
  };

  async function tuned(maxError: number, judge = missed) {
    const folder = mkdtempSync(join(root, 'tune-'));
    const { sources } = writeKeys(folder, keys, dim, 'fp32');
    const indexFolder = join(folder, 'index');
    await buildIvf({ folder: indexFolder, sources, dim, lists: 64 });
    const index = await IvfIndex.open({ folder: indexFolder, sources, threads: 1 });
    const trials: Trial[] = [];
    const onTrial = (trial: Trial) => trials.push(trial);
    const shares: number[][] = [];
    const onTruth = (...done: number[]) => shares.push(done);
    const options = { folder: indexFolder, queries, k: 60, judge, maxError, onTrial, onTruth };
    const result = await tuneIvf(index, options);
    await index.close();
    expect(result.trials).toEqual(trials);
    expect(shares.at(-1)).toEqual([1, 1]);
    return { ...result, stored: await readHeader(indexFolder) };
  }

  it('reads more lists for a smaller error, and stores what it chose', async () => {
    const loose = await tuned(0.2);
    const strict = await tuned(0.02);
    expect(loose.reached && strict.reached).toBe(true);
    for (const [{ chosen, trials }, most] of [
      [loose, 0.2],
      [strict, 0.02],
    ] as const) {
      expect(chosen.error).toBeLessThanOrEqual(most);
      // Nothing quicker that was tried would have done, and it was tried nearby.
      const fewer = trials.filter(({ probes }) => probes < chosen.probes);
      for (const { error } of fewer) expect(error).toBeGreaterThan(most);
      expect(Math.max(4, ...fewer.map(({ probes }) => probes))).toBeGreaterThanOrEqual(
        chosen.probes / 2,
      );
    }
    expect(strict.header.settings.probes).toBeGreaterThan(loose.header.settings.probes);
    expect(strict.chosen.recall).toBeCloseTo(1 - strict.chosen.error, 10);
    expect(strict.stored).toEqual(strict.header);
    const { error, recall } = strict.chosen;
    expect(strict.stored!.evidence).toMatchObject({
      ...{ k: 60, queries: 30, maxError: 0.02, error, recall, standardError: 0.01 },
    });
  });

  it('compares stored keys when the distances of the codes will not do', async () => {
    const inexact = (found: Neighbors, truth: Neighbors): Judgment => {
      const isExact = found.distances.every((distance, i) => distance === truth.distances[i]);
      const { error, standardError } = missed(found, truth);
      return { error: error + Number(!isExact), standardError };
    };
    const { header, reached } = await tuned(0, inexact);
    expect(reached).toBe(true);
    expect(header.settings.rerank).toBeGreaterThan(1);
  });

  it('reads no more lists when that no longer helps, and the most exact setting when nothing is good enough', async () => {
    const { reached, trials, header } = await tuned(0.5, () => ({ error: 1, standardError: 0 }));
    expect(reached).toBe(false);
    expect(header.settings).toMatchObject({ probes: 64, rerank: 1.25 });
    expect(trials.filter(({ rerank }) => rerank === 0).map(({ probes }) => probes)).toEqual([
      4, 8, 16,
    ]);
    // What may be the sample's fault alone is no reason to read keys for every query.
    const unsure = await tuned(0.5, () => ({ error: 1, standardError: 0.3 }));
    expect(unsure.reached).toBe(true);
    expect(unsure.chosen).toMatchObject({ probes: 4, rerank: 0, error: 1 });
  });
});
