import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import { keyDifferences, openFixture, openRuntime } from './hub-fixture.ts';
import { fixture, maxDifference } from './support.ts';

const names = readdirSync(fixture('models/hub'))
  .filter((name) => name.endsWith('.onnx.gz'))
  .map((name) => name.replace('.onnx.gz', ''));
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-hub-'));
afterAll(() => rmSync(temporary, { recursive: true }));

const TOLERANCE = 1e-4;

/** Families whose attention and feed-forward network read the residual side by side. */
const parallel = [
  'gpt_neox',
  'phi',
  'gptj',
  'codegen',
  'cohere',
  'cohere2',
  'falcon-7b',
  'falcon-40b',
  'stablelm-2-12b',
];

describe.each(names)('%s', (name) => {
  const model = openFixture(name, temporary);
  const { graph, truth, description, located } = model;
  const tokens = Int32Array.from(truth.tokens);
  const [middle, last] = truth.positions;

  it('has each key where PyTorch hooks saw it, and none where the family has none', async () => {
    expect(description).toMatchObject({ problems: [], dtype: 'fp32', layers: 2 });
    const parallelResidual = parallel.includes(name);
    expect(located).toMatchObject({ warnings: [], layers: 2, parallelResidual });
    const differences = await keyDifferences(graph, truth);
    expect(Object.keys(differences).sort()).toEqual(Object.keys(truth.keys).sort());
    for (const key of KEY_NAMES) {
      if (truth.keys[key]) expect(differences[key], key).toBeLessThan(TOLERANCE);
    }
  });

  it('still has them after onnxruntime has fused what it can and saved the result', async () => {
    const optimizedModelFilePath = join(temporary, `${name}.fused.onnx`);
    const ort = await loadOnnxRuntime();
    const options = { optimizedModelFilePath, intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    await (await ort.InferenceSession.create(model.path, options)).release();
    const fused = readGraph(optimizedModelFilePath);
    expect(fused.nodes.length).toBeLessThan(graph.nodes.length);
    const differences = await keyDifferences(fused, truth);
    expect(Object.keys(differences).sort()).toEqual(Object.keys(truth.keys).sort());
    expect(Math.max(...Object.values(differences))).toBeLessThan(TOLERANCE);
  });

  it('gives the log-probabilities of PyTorch, scored at once or read in parts from the cache, alone or in a batch', async () => {
    const runtime = await openRuntime(model);
    const targets = Int32Array.from(tokens, (_, i) => tokens[(i + 1) % tokens.length]!);
    const other = Int32Array.from(tokens.subarray(3, 3 + middle), (id) => 99 - id);
    const [scored] = await runtime.score([tokens, other], [targets, other]);
    truth.positions.forEach((position, i) => {
      const expected = truth.logProbs[i]![targets[position]!]!;
      expect(Math.abs(scored!.logProbs[position]! - expected)).toBeLessThan(TOLERANCE);
    });
    expect(description.cache.length).toBeGreaterThan(0);
    const decoder = runtime.startDecoding();
    const parts = [tokens.slice(0, middle + 1), tokens.slice(middle + 1, last + 1)];
    for (const [i, part] of parts.entries()) {
      const { key, logProbs } = await runtime.read(decoder, part);
      expect(maxDifference(logProbs, truth.logProbs[i]!)).toBeLessThan(TOLERANCE);
      expect(maxDifference(key, truth.keys['ffn-input']![i]!)).toBeLessThan(TOLERANCE);
    }
    const [key] = await runtime.keys([tokens]);
    expect(maxDifference(key!, scored!.keys)).toBeLessThan(TOLERANCE);
    await runtime.close();
  });
});
