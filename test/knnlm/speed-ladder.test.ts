/** Settings for speed: which are tried, which are taken, and what a store that is tuned for them does from then on. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { VectorIndex } from '../../dist/indexes/vector-index.js';
import { indexStore } from '../../dist/knnlm/index-store.js';
import { quickestWithin, speedLadder } from '../../dist/knnlm/speed-ladder.js';
import { buildDatastore, openKnnLM } from '../../dist/open.js';

const ladderOf = (kind: string, size: number, k: number) =>
  speedLadder(k, { kind, size } as VectorIndex).map((step) => [step.k, step.effort]);

describe('what is tried for speed', () => {
  it('is fewer lists first, then fewer neighbors in fewer lists', () => {
    expect(ladderOf('ivf', 1e6, 1024)).toEqual([
      [1024, 1 / 2],
      [1024, 1 / 4],
      [512, 1 / 8],
      [256, 1 / 16],
      [128, 1 / 32],
    ]);
  });

  it('is fewer neighbors where there are no lists, none twice, and never more than are stored', () => {
    expect(ladderOf('flat', 1e6, 1024).map(([k]) => k)).toEqual([512, 256, 128]);
    expect(ladderOf('flat', 100, 1024).map(([k]) => k)).toEqual([50, 25, 12]);
    expect(ladderOf('flat', 100, 1)).toEqual([]);
  });

  it('ends with the first that costs too much; the one before is taken', async () => {
    const step = (k: number, perplexity: number) => ({
      step: { k, effort: 1, perplexity, searchMs: 1 },
    });
    const costs = new Map([
      [512, 10.05],
      [256, 10.2],
      [128, 10.21],
      [64, 10],
    ]);
    const ladder = [...costs.keys()].map((k) => ({ k, effort: 1 }));
    const taken = async (within: number) => {
      const { chosen, attempts } = await quickestWithin(step(1024, 10), ladder, {
        within,
        attempt: async ({ k }) => step(k, costs.get(k)!),
      });
      return [chosen.step.k, attempts.length];
    };
    expect(await taken(0.02)).toEqual([256, 4]);
    expect(await taken(0.001)).toEqual([1024, 2]);
    expect(await taken(0.1)).toEqual([64, 5]);
  });
});

describe('a store that is tuned for speed', () => {
  const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-speed-'));
  const store = join(folder, 'store');
  const [valid] = readFileSync(`${fixtures}golden/medical.valid.jsonl`, 'utf8').split('\n');
  const text: string = JSON.parse(valid!).text;
  const documents = [0, 1].map((part) => ({
    id: `part-${part}`,
    source: '',
    text: text.slice(1500 * part, 1500 * (part + 1)),
  }));

  beforeAll(async () => {
    await buildDatastore([`${fixtures}golden/medical.train.jsonl`], {
      ...{ model: `${fixtures}models/stories260K`, window: 128, stride: 64, out: store },
      settings: { k: 64, lambda: 0.4, temperature: 3 },
    });
    await indexStore(store, { kind: 'ivf' });
  });

  afterAll(() => rmSync(folder, { recursive: true }));

  it('keeps the quickest that cost no more than was allowed, and tells what each cost', async () => {
    const knnlm = await openKnnLM(store);
    try {
      const { speed, settings, parts } = await knnlm.tune(documents, {
        ...{ within: 0.1, k: 64, maxTokens: 700 },
        // Fitted in a moment: the ladder is what is looked at.
        ...{ cache: false, pointers: false },
      });
      const { tried, taken } = speed!;
      expect([tried[0]!.k, tried[0]!.effort]).toEqual([64, 1]);
      const allowed = 1.1 * tried[0]!.perplexity;
      for (const step of tried.slice(1, taken + 1)) {
        expect(step.perplexity).toBeLessThanOrEqual(allowed);
      }
      if (taken < tried.length - 1) expect(tried.at(-1)!.perplexity).toBeGreaterThan(allowed);
      // Half of the lists cost no tenth anywhere.
      expect(taken).toBeGreaterThan(0);
      expect(settings.k).toBeLessThanOrEqual(tried[taken]!.k);
      expect(parts.effort).toBe(tried[taken]!.effort);
      for (const { searchMs } of tried) expect(searchMs).toBeGreaterThan(0);
      expect(knnlm.settings({})).toMatchObject({ k: settings.k, effort: parts.effort });
      expect(knnlm.datastore.settings!.evidence).toMatchObject({ speed: { within: 0.1, taken } });
    } finally {
      await knnlm.close();
    }
  });

  it('says what is wrong with what is asked for', async () => {
    const knnlm = await openKnnLM(store);
    try {
      await expect(knnlm.tune(documents, { within: -0.1 })).rejects.toThrow(/0 or more, such as/);
      await expect(knnlm.tune(documents, { within: 0.1, effort: 0.5 })).rejects.toThrow(
        /leave out one of them/,
      );
    } finally {
      await knnlm.close();
    }
  });
});
