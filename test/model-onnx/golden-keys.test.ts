import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { fixture, floats, maxDifference, runGraph, STORIES } from './support.ts';

const golden = JSON.parse(readFileSync(fixture('golden/stories260K.golden.json'), 'utf8')) as {
  bos: number;
  taps: { tokens: number[]; keys: Record<string, number[]> };
};

it('gives all six keys of Table 5 as PyTorch hooks see them', async () => {
  const graph = readGraph(STORIES);
  const { keys, warnings } = locateKeys(graph);
  expect(warnings).toEqual([]);
  const expose = Object.fromEntries(KEY_NAMES.map((key) => [`knn_${key}`, keys[key].tensor!]));
  const outputs = await runGraph(patchGraph(graph, { expose, keepOutputs: [] }), [
    golden.bos,
    ...golden.taps.tokens,
  ]);
  for (const key of KEY_NAMES) {
    const all = floats(outputs[`knn_${key}`]);
    const expected = golden.taps.keys[key]!;
    expect(keys[key]).toMatchObject({ elementType: 'float32', width: expected.length });
    expect(maxDifference(all.slice(-expected.length), expected), key).toBeLessThan(2e-5);
  }
});
