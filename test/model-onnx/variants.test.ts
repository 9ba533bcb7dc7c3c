import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { encodeNode, encodeValueInfo } from '../../dist/model/onnx/encode-nodes.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import {
  integerField,
  messageField,
  messageHead,
  stringField,
} from '../../dist/model/onnx/protobuf-writer.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { encodeModel, fixture, floats, maxDifference, runGraph, STORIES } from './support.ts';

const variant = (name: string) => readGraph(fixture(`models/stories260K/onnx/${name}.onnx`));
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-variants-'));
afterAll(() => rmSync(temporary, { recursive: true }));
const tokens = [1, 403, 407, 261, 378, 396, 362, 500, 17, 2];

async function keysOf(graph: ReturnType<typeof readGraph>) {
  const { keys } = locateKeys(graph);
  const expose = Object.fromEntries(KEY_NAMES.map((key) => [`knn_${key}`, keys[key].tensor!]));
  return runGraph(patchGraph(graph, { expose, keepOutputs: [] }), tokens);
}

describe.each([
  // Largest difference of any key from float32's, of values up to about 8.
  ['fp16', 'model_fp16', 'float16', 0.03],
  ['q4', 'model_q4', 'float32', 4],
] as const)('%s', (dtype, name, elementType, tolerance) => {
  it('is recognized, and its keys are those of float32 to its own precision', async () => {
    const graph = variant(name);
    expect(describeGraph(graph)).toMatchObject({ dtype, dynamicInt8: false, problems: [] });
    const { keys, warnings } = locateKeys(graph);
    expect(warnings).toEqual([]);
    const [exact, rounded] = [await keysOf(readGraph(STORIES)), await keysOf(graph)];
    for (const key of KEY_NAMES) {
      expect(keys[key]).toMatchObject({ elementType, width: 64 });
      // Always float32 outside, whatever the model computes in.
      expect(rounded[`knn_${key}`]!.type).toBe('float32');
      const difference = maxDifference(floats(rounded[`knn_${key}`]), floats(exact[`knn_${key}`]));
      expect(difference, key).toBeLessThan(tolerance);
      expect(difference, key).toBeGreaterThan(0);
    }
  });
});

it('tells q4f16 from q4 by the scales, and bnb4 by its operator', () => {
  const graph = variant('model_q4');
  const initializers = new Map(graph.initializers);
  for (const [name, tensor] of initializers) {
    if (name.includes('scale')) initializers.set(name, { ...tensor, elementType: 'float16' });
  }
  expect(describeGraph({ ...graph, initializers }).dtype).toBe('q4f16');
  const nodes = graph.nodes.map((node) =>
    node.op === 'MatMulNBits' ? { ...node, op: 'MatMulBnb4' } : node,
  );
  expect(describeGraph({ ...graph, nodes }).dtype).toBe('bnb4');
});

it('refuses activations quantized over the whole run, and still knows where the keys are', () => {
  const graph = variant('model_int8');
  const description = describeGraph(graph);
  expect(description).toMatchObject({ dtype: 'int8', dynamicInt8: true, layers: 5 });
  expect(description.problems).toEqual([
    expect.stringMatching(/DynamicQuantizeLinear.*Use fp32, fp16, q4 or q4f16/),
  ]);
  const tensors = (g: typeof graph) => KEY_NAMES.map((key) => locateKeys(g).keys[key].tensor);
  expect(tensors(graph)).toEqual(tensors(readGraph(STORIES)));
});

it('pairs cache inputs with outputs and sorts the other inputs by role', () => {
  const description = describeGraph(readGraph(STORIES));
  expect(description).toMatchObject({
    tokens: 'input_ids',
    attentionMask: 'attention_mask',
    positionIds: 'position_ids',
    otherInputs: [],
    layers: 5,
  });
  expect(description.cache.length).toBe(10);
  expect(description.cache[3]).toEqual({
    input: {
      name: 'past_key_values.1.value',
      elementType: 'float32',
      shape: ['batch_size', 4, 'past_sequence_length', 8],
    },
    output: 'present.1.value',
    layer: 1,
  });
});

const lookup = { op: 'Gather', inputs: ['table', 'input_ids'], output: 'logits' };
const table = { table: { dims: [2, 2], values: [1, 2, 3, 4] } };

function write(content: Uint8Array): string {
  const path = join(temporary, 'small.onnx');
  writeFileSync(path, content);
  return path;
}

it('names inputs it cannot feed and caches that do not come back', () => {
  const inputs = ['input_ids', 'pixel_values', 'past_key_values.0.key'];
  const graph = readGraph(write(encodeModel({ nodes: [lookup], weights: table, inputs })));
  expect(describeGraph(graph).problems).toEqual([
    'It wants inputs that are not known here: pixel_values.',
    'Its cache inputs have no matching outputs: past_key_values.0.key.',
  ]);
});

it('says why no key can be located in a graph that is no transformer', () => {
  const { keys } = locateKeys(readGraph(write(encodeModel({ nodes: [lookup], weights: table }))));
  expect(keys['ffn-input']).toEqual({
    tensor: undefined,
    reason: 'no block with weights was found between embedding and logits',
    candidates: [],
  });
  expect(keys.output).toMatchObject({ reason: 'no product with a weight gives the logits' });
});

it('refuses a graph without logits', () => {
  const outputs = ['last_hidden_state', 'pooler_output', 'logit_scale'];
  const nodes = outputs.map((output) => ({ ...lookup, output }));
  const graph = readGraph(write(encodeModel({ nodes, weights: table, outputs })));
  expect(() => locateKeys(graph)).toThrow(/no output named logits; it has last_hidden_state,/);
});

it('warns where the names contradict the shape of the graph', () => {
  // A block whose "post_attention_layernorm" feeds attention: someone's names, not the key.
  const graph = readGraph(fixture('models/families/llama.onnx'));
  const swap = (name: string): string =>
    name.includes('input_layernorm')
      ? name.replace('input_layernorm', 'post_attention_layernorm')
      : name.replace('post_attention_layernorm', 'input_layernorm');
  const nodes = graph.nodes.map((node) => ({
    ...node,
    inputs: node.inputs.map(swap),
    outputs: node.outputs.map(swap),
    captures: node.captures.map(swap),
  }));
  const initializers = new Map([...graph.initializers].map(([name, t]) => [swap(name), t]));
  const { warnings, keys } = locateKeys({ ...graph, nodes, initializers });
  expect(keys['ffn-input'].tensor).toBe('/model/model/layers.1/input_layernorm/Mul_1_output_0');
  expect(warnings).toEqual([
    "ffn-input is /model/model/layers.1/input_layernorm/Mul_1_output_0 by the graph's shape; by its name it would be /model/model/layers.1/post_attention_layernorm/Mul_1_output_0",
    "attention-input is /model/model/layers.1/post_attention_layernorm/Mul_1_output_0 by the graph's shape; by its name it would be /model/model/layers.1/input_layernorm/Mul_1_output_0",
  ]);
});

it('reads a graph of 3 GiB without its weights, cuts them away, and refuses to load what protobuf cannot hold', () => {
  const path = join(temporary, 'large.onnx');
  const bytes = 3 * 2 ** 30;
  const tensor = Buffer.concat([
    integerField(1, bytes / 4),
    integerField(2, 1),
    stringField(8, 'large'),
    messageHead(9, bytes),
  ]);
  const graphParts = Buffer.concat([
    encodeNode({ op: 'Cast', inputs: ['input_ids'], output: 'small', attributes: { to: 1 } }),
    encodeNode({ op: 'Mul', inputs: ['small', 'large'], output: 'logits' }),
    encodeValueInfo(11, 'input_ids', 'int64', ['batch', 'sequence']),
    encodeValueInfo(12, 'logits', 'float32'),
    messageHead(5, tensor.length + bytes),
    tensor,
  ]);
  const head = [
    integerField(1, 8),
    messageField(8, stringField(1, ''), integerField(2, 17)),
    messageHead(7, graphParts.length + bytes),
    graphParts,
  ];
  writeFileSync(path, Buffer.concat(head));
  // The weights are a hole: no bytes on the disk.
  truncateSync(path, Buffer.concat(head).length + bytes);
  const before = process.memoryUsage().rss;
  const graph = readGraph(path);
  expect(graph.initializers.get('large')!.bytes).toBe(bytes);
  const cut = patchGraph(graph, { expose: { knn_key: 'small' }, keepOutputs: [] });
  expect(cut.bytes.length).toBeLessThan(500);
  expect(() => patchGraph(graph, { expose: { knn_key: 'small' } })).toThrow(
    /needs 3\.0 GiB in one graph, and protobuf ends at 2 GiB/,
  );
  expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 28);
});
