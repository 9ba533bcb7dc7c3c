/** The recipe of training/, from text to a model that knnlm reads: where Python with PyTorch is present ($PYTHON or python3). */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import {
  buildDatastore,
  describeModel,
  KEY_NAMES,
  openKnnLM,
  readDocuments,
} from '../dist/index.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const python = process.env.PYTHON ?? 'python3';
const needs = 'import onnx, onnxruntime, safetensors, tokenizers, torch; torch.optim.Muon';
const hasPyTorch = spawnSync(python, ['-c', needs]).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-training-'));

afterAll(() => rmSync(folder, { recursive: true }));

describe.skipIf(!hasPyTorch)('the training recipe', () => {
  it('makes a model with the six keys, on which knnlm and PyTorch agree', async () => {
    const model = join(folder, 'model');
    const held = join(root, 'demo/held-out.jsonl');
    const text = ['--text', join(root, 'demo/pharmacology.jsonl'), '--valid', held];
    const little = ['--tokens', '20000', '--weights', 'fp16', '--evaluate', held, '--threads', '1'];
    const command = [join(root, 'training/run.py'), '--smoke', '--out', model, ...text, ...little];
    const run = spawnSync(python, command, { encoding: 'utf8' });
    expect(run.status, run.stderr).toBe(0);
    const { parity, evaluations } = JSON.parse(run.stdout);
    expect(Math.max(...(Object.values(parity) as number[]))).toBeLessThan(1e-4);

    const { keys } = await describeModel(model);
    for (const name of KEY_NAMES) expect(keys![name].tensor, name).toBeDefined();

    const out = join(folder, 'store');
    await buildDatastore([held], { out, model, workers: 1, selfTune: false });
    const memory = await openKnnLM(out, { workers: 1 });
    try {
      const { tokens, lm } = await memory.evaluate(readDocuments([held]), { k: 8, lambda: 0.5 });
      expect(tokens).toBe(evaluations[0].tokens);
      expect(lm.perplexity / evaluations[0].perplexity).toBeCloseTo(1, 4);
    } finally {
      await memory.close();
    }
  }, 600_000);
});
