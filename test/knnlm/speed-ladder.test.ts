/** Settings for speed: which are tried, which are taken, and what a store that is tuned for them does from then on. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import type { VectorIndex } from '../../dist/indexes/vector-index.js';
import { indexStore } from '../../dist/knnlm/index-store.js';
import { retune } from '../../dist/knnlm/retune.js';
import { type SpeedReport, speedLadder, speedUp } from '../../dist/knnlm/speed-ladder.js';
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
    expect(ladderOf('milvus', 1e9, 64)).toEqual([
      [32, 1],
      [16, 1],
      [8, 1],
    ]);
  });

  it('ends with the first that costs too much; the one before is taken', async () => {
    const step = (k: number, perplexity: number) => ({
      step: { k, effort: 1, perplexity, searchMs: 1 },
    });
    const costs = new Map([
      [512, 10.05],
      [256, 10.2],
      [128, 10.21],
    ]);
    const taken = async (within?: number) => {
      const { chosen, attempts, speed } = await speedUp(step(1024, 10), {
        within,
        attempt: async ({ k }) => step(k, costs.get(k)!),
        index: { kind: 'flat', size: 5000 },
      });
      expect(speed?.tried[speed.taken]).toBe(speed && chosen.step);
      return [chosen.step.k, attempts.length];
    };
    expect(await taken(0.02)).toEqual([256, 4]);
    expect(await taken(0.001)).toEqual([1024, 2]);
    expect(await taken(0.1)).toEqual([128, 4]);
    expect(await taken()).toEqual([1024, 1]);
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
    await indexStore(store);
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

  it('is one that was built so, and stays one when it is tuned anew', async () => {
    const path = join(folder, 'built');
    const train = join(folder, 'beginnings.jsonl');
    const lines = readFileSync(`${fixtures}golden/medical.train.jsonl`, 'utf8').trim().split('\n');
    const beginnings = lines.map((line) => {
      const { id, text } = JSON.parse(line);
      return JSON.stringify({ id, text: text.slice(0, 700) });
    });
    writeFileSync(train, beginnings.join('\n'));
    await buildDatastore([train], {
      ...{ model: `${fixtures}models/stories260K`, window: 128, stride: 64, out: path },
      within: 0.5,
    });
    const speedOf = async () => {
      const datastore = await Datastore.open(path);
      const { settings } = datastore;
      await datastore.close();
      expect(settings!.source).toBe('self-tuned');
      const { within, tried, taken } = settings!.evidence!.speed as SpeedReport;
      expect(settings!.k).toBeLessThanOrEqual(tried[taken]!.k);
      return { within, ks: tried.map(({ k }) => k), taken };
    };
    const speed = await speedOf();
    expect(speed.within).toBe(0.5);
    expect(speed.ks.slice(0, 2)).toEqual([1024, 512]);
    expect(speed.taken).toBeGreaterThan(0);
    const model = { model: `${fixtures}models/stories260K` };
    const again = await retune(path, model);
    expect(again!.source).toBe('self-tuned');
    expect(await speedOf()).toEqual(speed);
    const given = { ...model, out: join(folder, 'given'), settings: { k: 8 }, within: 0.5 };
    await expect(buildDatastore([train], given)).rejects.toThrow(/leave out one of them/);
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
