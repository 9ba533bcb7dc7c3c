import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import type { OnnxGraph } from '../../dist/model/onnx/graph.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import { fixture, floats, maxDifference, runGraph } from './support.ts';

interface Truth {
  tokens: number[];
  /** Which positions the rows of `keys` and `logits` belong to. */
  positions: number[];
  /** Keys PyTorch's hooks saw; none where the family has no such norm. */
  keys: Record<string, number[][]>;
  logits: number[][];
}

const names = readdirSync(fixture('models/families'))
  .filter((name) => name.endsWith('.onnx'))
  .map((name) => name.replace('.onnx', ''));

const temporary = mkdtempSync(join(tmpdir(), 'knnlm-families-'));
afterAll(() => rmSync(temporary, { recursive: true }));

async function expectKeys(graph: OnnxGraph, truth: Truth): Promise<void> {
  const { keys, warnings } = locateKeys(graph);
  expect(warnings).toEqual([]);
  const located = KEY_NAMES.filter((key) => keys[key].tensor);
  expect(located).toEqual(KEY_NAMES.filter((key) => truth.keys[key]));
  const expose = Object.fromEntries(located.map((key) => [`knn_${key}`, keys[key].tensor!]));
  const outputs = await runGraph(patchGraph(graph, { expose, keepOutputs: [] }), truth.tokens);
  for (const key of located) {
    const all = floats(outputs[`knn_${key}`]);
    const width = truth.keys[key]![0]!.length;
    // (batch, sequence, d), or (batch · sequence, d) where the family flattens first, as OPT does: the same rows.
    expect(all.length, key).toBe(truth.tokens.length * width);
    expect(keys[key]).toMatchObject({ elementType: 'float32', width });
    truth.positions.forEach((position, i) => {
      const row = all.subarray(position * width, (position + 1) * width);
      expect(maxDifference(row, truth.keys[key]![i]!), key).toBeLessThan(1e-4);
    });
  }
}

describe.each(names)('%s', (name) => {
  const path = fixture(`models/families/${name}.onnx`);
  const graph = readGraph(path);
  const truth = JSON.parse(readFileSync(path.replace('.onnx', '.json'), 'utf8')) as Truth;

  it('has each key where the PyTorch hooks saw it, and none where the family has no norm', async () => {
    const { parallelResidual, layers } = locateKeys(graph);
    expect(layers).toBe(2);
    expect(parallelResidual).toBe(false);
    await expectKeys(graph, truth);
  });

  it('still has them after onnxruntime has fused what it can and saved the result', async () => {
    const optimized = join(temporary, `${name}.onnx`);
    const ort = await loadOnnxRuntime();
    const session = await ort.InferenceSession.create(path, {
      graphOptimizationLevel: 'all',
      optimizedModelFilePath: optimized,
      logSeverityLevel: 3,
    });
    await session.release();
    const fused = readGraph(optimized);
    expect(fused.nodes.length).toBeLessThan(graph.nodes.length);
    await expectKeys(fused, truth);
  });

  it('is described as a plain float32 decoder', () => {
    expect(describeGraph(graph)).toMatchObject({
      dtype: 'fp32',
      dynamicInt8: false,
      layers: 2,
      hiddenWidth: truth.keys.output![0]!.length,
      logits: { name: 'logits', vocabSize: 100 },
      lastPositionOnly: false,
      logitsToKeepInput: undefined,
      problems: [],
    });
  });
});
