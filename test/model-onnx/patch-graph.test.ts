import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { LOGITS_FROM, lastLogits } from '../../dist/model/onnx/last-logits.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { encodeModel, fixture, floats, maxDifference, runGraph, STORIES } from './support.ts';

const tokens = [1, 403, 407, 261, 378, 396, 362, 500, 17, 2];
const targets = [403, 407, 261, 378, 396, 362, 500, 17, 2, 9];
const graph = readGraph(STORIES);
const key = locateKeys(graph).keys['ffn-input'].tensor!;
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-patch-'));
afterAll(() => rmSync(temporary, { recursive: true }));

/** log p(target) of each row in float64, the definition itself. */
function logProbsOf(logits: Float32Array, vocabulary: number): number[] {
  return targets.map((target, t) => {
    const row = [...logits.subarray(t * vocabulary, (t + 1) * vocabulary)];
    const top = Math.max(...row);
    const sum = row.reduce((total, logit) => total + Math.exp(logit - top), 0);
    return row[target % vocabulary]! - top - Math.log(sum);
  });
}

it('adds outputs and keeps all there were', async () => {
  const patched = patchGraph(graph, { expose: { knn_key: key, knn_logits: 'logits' } });
  expect(patched.outputs).toEqual([...graph.outputs.map((o) => o.name), 'knn_key', 'knn_logits']);
  expect(patched.inputs).toEqual(graph.inputs);
  const outputs = await runGraph(patched, tokens);
  expect(Object.keys(outputs).sort()).toEqual(patched.outputs.toSorted());
  expect(outputs.knn_key!.dims).toEqual([1, tokens.length, 64]);
  expect(floats(outputs.knn_logits)).toEqual(floats(outputs.logits));
});

it('cuts the graph down to what the key needs, and gives the same key bit for bit', async () => {
  const full = await runGraph(patchGraph(graph, { expose: { knn_key: key } }), tokens);
  const cut = patchGraph(graph, { expose: { knn_key: key }, keepOutputs: [] });
  expect(cut.outputs).toEqual(['knn_key']);
  const keys = await runGraph(cut, tokens);
  expect(floats(keys.knn_key)).toEqual(floats(full.knn_key));
  const path = join(temporary, 'cut.onnx');
  writeFileSync(path, cut.bytes);
  const read = readGraph(path);
  expect(read.nodes.length).toBeLessThan(graph.nodes.length);
  expect(read.inputs).toEqual(cut.inputs);
  const products = (g: typeof graph) => g.nodes.filter((node) => node.op === 'MatMul').length;
  // gate, up and down projection of the last block, and the head.
  expect(products(graph) - products(read)).toBe(4);
});

it('drops inputs that nothing needs any more', () => {
  const first = '/model/layers.0/input_layernorm/Mul_1_output_0';
  const patched = patchGraph(graph, { expose: { knn_key: first }, keepOutputs: [] });
  expect(patched.inputs.map((input) => input.name)).toEqual(['input_ids']);
});

it('keeps chosen outputs, such as the cache without the head', async () => {
  const cache = describeGraph(graph).cache.map((pair) => pair.output);
  const patched = patchGraph(graph, { expose: { knn_key: key }, keepOutputs: cache });
  const outputs = await runGraph(patched, tokens);
  expect(Object.keys(outputs).sort()).toEqual([...cache, 'knn_key'].sort());
  const full = await runGraph(patchGraph(graph, {}), tokens);
  for (const name of cache) expect(floats(outputs[name])).toEqual(floats(full[name]));
});

it('leaves a graph as it is when asked for nothing', async () => {
  const patched = patchGraph(graph, {});
  expect(patched.outputs).toEqual(graph.outputs.map((output) => output.name));
  expect(patched.bytes.length).toBe(graph.fileBytes);
});

// onnxruntime may skip the rounding of logits to float16 between the product and the cast, hence the tolerance there.
describe.each([
  ['opset 14', 'models/families/gpt2-opset14.onnx', 1e-5],
  ['opset 17', 'models/stories260K/onnx/model.onnx', 1e-5],
  ['opset 18', 'models/families/gpt2-opset18.onnx', 1e-5],
  ['float16', 'models/stories260K/onnx/model_fp16.onnx', 8e-3],
  ['4 bits', 'models/stories260K/onnx/model_q4.onnx', 1e-5],
])('the log-probability head, %s', (_, path, tolerance) => {
  it('gives log p(target) of the model it is added to', async () => {
    const model = readGraph(fixture(path));
    const { vocabSize } = describeGraph(model).logits;
    const within = (ids: number[]): number[] => ids.map((id) => id % vocabSize!);
    const all = await runGraph(
      patchGraph(model, { expose: { knn_logits: 'logits' }, logProbsOf: 'logits' }),
      within(tokens),
      within(targets),
    );
    expect(all.knn_log_probs!.dims).toEqual([1, tokens.length]);
    const expected = logProbsOf(floats(all.knn_logits), vocabSize!);
    expect(maxDifference(floats(all.knn_log_probs), expected)).toBeLessThan(tolerance);
  });
});

describe.each([
  ['opset 14', 'models/families/gpt2-opset14.onnx'],
  ['opset 18', 'models/families/gpt2-opset18.onnx'],
  ['float16', 'models/stories260K/onnx/model_fp16.onnx'],
  ['with norms in one node', 'models/shapes/fused-norms.onnx'],
])('logits of the last position alone, %s', (_, path) => {
  it('are those of all positions', async () => {
    const model = readGraph(fixture(path));
    const { vocabSize } = describeGraph(model).logits;
    const patched = patchGraph(model, {
      expose: { knn_logits: 'logits' },
      keepOutputs: [],
      replacement: lastLogits(model),
    });
    expect(patched.inputs).toContainEqual({
      ...{ name: LOGITS_FROM, elementType: 'int64', shape: [1] },
    });
    const ids = tokens.map((id) => id % vocabSize!);
    const all = floats((await runGraph(patched, ids)).knn_logits);
    expect(all.length).toBe(ids.length * vocabSize!);
    const last = floats((await runGraph(patched, ids, [], { logitsFrom: -1 })).knn_logits);
    expect(last.length).toBe(vocabSize);
    expect(maxDifference(last, all.subarray(-vocabSize!))).toBeLessThan(1e-5);
  });
});

it('leaves heads alone that keep logits of some positions themselves', () => {
  for (const name of ['num-logits-to-keep', 'last-logits-only'])
    expect(lastLogits(readGraph(fixture(`models/shapes/${name}.onnx`)))).toBeUndefined();
});

it('scores from logits far beyond what exp can hold', async () => {
  const path = join(temporary, 'large.onnx');
  const rows = [
    [1e4, 1e4, -1e4],
    [-3e4, -3e4, -3e4],
    [88, 90, 1e6],
    [-1e30, 0, 0],
  ];
  writeFileSync(
    path,
    encodeModel({
      nodes: [{ op: 'Gather', inputs: ['table', 'input_ids'], output: 'logits' }],
      weights: { table: { dims: [4, 3], values: rows.flat() } },
    }),
  );
  const patched = patchGraph(readGraph(path), { logProbsOf: 'logits', keepOutputs: [] });
  const outputs = await runGraph(patched, [0, 1, 2, 3, 0], [0, 2, 2, 1, 2]);
  const expected = [-Math.LN2, -Math.log(3), 0, -Math.LN2, -2e4 - Math.LN2];
  expect(maxDifference(floats(outputs.knn_log_probs), expected)).toBeLessThan(2e-3);
});

it('refuses an operator set in which the head cannot be written', () => {
  const path = join(temporary, 'old.onnx');
  const nodes = [{ op: 'Gather', inputs: ['table', 'input_ids'], output: 'logits' }];
  const weights = { table: { dims: [1, 1], values: [1] } };
  writeFileSync(path, encodeModel({ opset: 9, nodes, weights }));
  expect(() => patchGraph(readGraph(path), { logProbsOf: 'logits' })).toThrow(/operator set 9/);
});

it('names what the graph does not have', () => {
  expect(() => patchGraph(graph, { expose: { k: 'no/such' } })).toThrow(
    /has no tensor named "no\/such"/,
  );
  expect(() => patchGraph(graph, { keepOutputs: ['no'] })).toThrow(/has no output named "no"/);
  expect(() => patchGraph(graph, { logProbsOf: 'no' })).toThrow(/has no tensor named "no"/);
  expect(() => patchGraph(graph, { expose: { logits: key } })).toThrow(/the name is taken/);
});
