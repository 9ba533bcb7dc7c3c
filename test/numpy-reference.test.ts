/** The method against an independent implementation in NumPy, where Python with NumPy is present ($PYTHON or python3). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import { fitTables } from '../dist/experiments/fit.js';
import { collectNeighbors } from '../dist/knnlm/collect-neighbors.js';
import { scoreDocument } from '../dist/knnlm/evaluate.js';
import { gainsAt } from '../dist/knnlm/search-settings.js';
import { TuningWindows } from '../dist/knnlm/tuning-windows.js';
import { buildDatastore, openKnnLM } from '../dist/open.js';

const fixtures = fileURLToPath(new URL('./fixtures/', import.meta.url));
const python = process.env.PYTHON ?? 'python3';
const hasNumPy = spawnSync(python, ['-c', 'import numpy']).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-numpy-'));

const SETTINGS = [
  { k: 1, lambda: 0.25, temperature: 1 },
  { k: 8, lambda: 0.5, temperature: 0.3 },
  { k: 100, lambda: 0.9, temperature: 4 },
  { k: 1024, lambda: 0.1, temperature: 30 },
];
const TARGETS = 60;

afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(!hasNumPy)('the mixture', () => {
  it('equals brute force in NumPy, in evaluation and where settings are tried offline', async () => {
    const out = join(folder, 'store');
    const model = join(fixtures, 'models/stories260K');
    const input = join(fixtures, 'golden/tinystories.train.jsonl');
    await buildDatastore([input], { out, model, window: 128, stride: 64, selfTune: false });
    const memory = await openKnnLM(out, { workers: 1 });
    try {
      const valid = readFileSync(join(fixtures, 'golden/tinystories.valid.jsonl'), 'utf8');
      const { id, text } = JSON.parse(valid.split('\n')[0]!);
      const [ids] = await memory.model.encodeDocuments([text]);
      const inputs = Int32Array.of(memory.model.tokenizer.bos, ...ids!).subarray(0, TARGETS);
      const targets = ids!.slice(0, TARGETS);
      const [scored] = await memory.model.score([inputs], [targets]);
      writeFileSync(join(folder, 'queries'), scored!.keys);
      const asked = {
        store: out,
        queries: join(folder, 'queries'),
        targets: [...targets],
        lm: [...scored!.logProbs],
        settings: SETTINGS,
      };
      const script = join(fixtures, 'reference/knn_reference.py');
      const { stdout, stderr } = spawnSync(python, [script], {
        input: JSON.stringify(asked),
        encoding: 'utf8',
      });
      expect(stderr).toBe('');
      const reference: number[][] = JSON.parse(stdout);

      const sample = new TuningWindows({ window: 128, stride: 64 }, TARGETS);
      sample.add({ inputs, targets, sourceIds: undefined });
      const { neighbors: table } = await collectNeighbors(sample.take(), memory, {
        k: 1024,
        unitIsDocument: false,
        phase: 'retrieving',
      });
      for (const [s, settings] of SETTINGS.entries()) {
        const document = { id, text, source: id };
        const plan = { window: 128, stride: 64, maxTokens: TARGETS };
        const evaluated = await scoreDocument(document, memory.model, memory.retriever, {
          ...plan,
          settings,
        });
        const gains = gainsAt(table, settings.k, settings.temperature);
        reference[s]!.forEach((expected, row) => {
          expect(evaluated.mixture[row]!).toBeCloseTo(expected, 4);
          const offline = table.lm[row]! + Math.log1p(settings.lambda * gains[row]!);
          expect(offline).toBeCloseTo(expected, 4);
        });
      }
      const fit = fitTables({ tuning: table, reporting: table });
      expect(fit.mixture.perplexity).toBeLessThanOrEqual(fit.lm.perplexity);
    } finally {
      await memory.close();
    }
  });
});
