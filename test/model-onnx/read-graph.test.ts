import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import type { NewNode } from '../../dist/model/onnx/encode-nodes.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { integerField, messageField, stringField } from '../../dist/model/onnx/protobuf-writer.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { encodeModel, fixture, STORIES } from './support.ts';

const temporary = mkdtempSync(join(tmpdir(), 'knnlm-read-'));
afterAll(() => rmSync(temporary, { recursive: true }));

function write(content: Uint8Array | string): string {
  const path = join(temporary, 'model.onnx');
  writeFileSync(path, content);
  return path;
}

const refusal = (path: string): KnnLMError => {
  try {
    readGraph(path);
  } catch (error) {
    expect(error).toBeInstanceOf(KnnLMError);
    expect((error as KnnLMError).message).not.toContain('\n');
    return error as KnnLMError;
  }
  throw new Error('the file was accepted');
};

it('reads the structure of a real model', () => {
  const graph = readGraph(STORIES);
  expect(graph).toMatchObject({ producer: 'pytorch', irVersion: 8, externalFiles: [] });
  expect(graph.opsets.get('')).toBe(17);
  expect(graph.nodes.length).toBe(924);
  expect(graph.inputs[0]).toEqual({
    name: 'input_ids',
    elementType: 'int64',
    shape: ['batch_size', 'sequence_length'],
  });
  expect(graph.outputs[0]).toEqual({
    name: 'logits',
    elementType: 'float32',
    shape: ['batch_size', 'sequence_length', 512],
  });
  expect(graph.initializers.get('model.norm.weight')).toMatchObject({
    dims: [64],
    elementType: 'float32',
    bytes: 256,
  });
});

it('puts nodes in an order that can be computed, wherever they stand in the file', () => {
  const chain: NewNode[] = [
    { op: 'Relu', inputs: ['b'], output: 'logits' },
    { op: 'Relu', inputs: ['a'], output: 'b' },
    { op: 'Cast', inputs: ['input_ids'], output: 'a', attributes: { to: 1 } },
  ];
  const { nodes } = readGraph(write(encodeModel({ nodes: chain })));
  expect(nodes.map((node) => node.outputs[0])).toEqual(['a', 'b', 'logits']);
  expect(nodes.map((node) => node.position)).toEqual([2, 1, 0]);
});

it('joins the parts of a graph that was patched by appending to its file', () => {
  const model = encodeModel({ nodes: [{ op: 'Relu', inputs: ['input_ids'], output: 'logits' }] });
  const appended = messageField(7, messageField(12, stringField(1, 'more')));
  const graph = readGraph(write(Buffer.concat([model, appended])));
  expect(graph.outputs.map((output) => output.name)).toEqual(['logits', 'more']);
});

it.each([
  ['an empty file', '', /it is empty/],
  ['a Git LFS pointer', 'version https://git-lfs.github.com/spec/v1\noid sha256:1', /git lfs pull/],
  ['a web page', '<!doctype html><p>Not found', /it is text/],
  ['GGUF', 'GGUF\x03\0\0\0', /GGUF/],
  ['a zip archive', 'PK\x03\x04\x14\0\0\0\x08\0\xff\xff', /not a valid ONNX model/],
  ['zeros', '\0'.repeat(1000), /not a valid ONNX model/],
])('says what is wrong with %s', (_, content, message) => {
  const error = refusal(write(Buffer.from(content, 'latin1')));
  expect(error.code).toBe('MODEL_INVALID');
  expect(error.message).toMatch(message);
});

it('tells a missing file and a folder from a broken one', () => {
  expect(refusal(join(temporary, 'none.onnx')).code).toBe('MODEL_NOT_FOUND');
  mkdirSync(join(temporary, 'folder'));
  expect(refusal(join(temporary, 'folder')).message).toMatch(/is not a file/);
});

it.each([
  [
    'a cycle',
    [
      ['b', 'a'],
      ['a', 'b'],
      ['a', 'logits'],
    ],
    /depends on its own output/,
  ],
  ['a tensor nobody makes', [['nothing', 'logits']], /reads nothing, which nothing makes/],
  [
    'a tensor made twice',
    [
      ['input_ids', 'logits'],
      ['input_ids', 'logits'],
    ],
    /two nodes make/,
  ],
])('refuses %s', (_, edges, message) => {
  const nodes = edges.map(([from, to]) => ({ op: 'Relu', inputs: [from!], output: to! }));
  expect(refusal(write(encodeModel({ nodes }))).message).toMatch(message);
});

it('refuses a tensor with less data than its shape needs', () => {
  const nodes = [{ op: 'Gather', inputs: ['table', 'input_ids'], output: 'logits' }];
  const weights = { table: { dims: [4, 3], values: [1, 2, 3] } };
  expect(refusal(write(encodeModel({ nodes, weights }))).message).toMatch(
    /table has 12 bytes of data, its shape \[4,3\] needs 48/,
  );
});

it('refuses weights that would be read from outside the folder', () => {
  const entry = messageField(13, stringField(1, 'location'), stringField(2, '../../secret'));
  const tensor = messageField(5, stringField(8, 'w'), integerField(2, 1), entry);
  const model = Buffer.concat([
    encodeModel({ nodes: [{ op: 'Relu', inputs: ['w'], output: 'logits' }] }),
    messageField(7, tensor),
  ]);
  expect(refusal(write(model)).message).toMatch(/outside the model's folder: \.\.\/\.\.\/secret/);
});

it('refuses a length beyond any memory without asking for it', () => {
  // graph { node { input: <a string of 2^40 bytes> } }, each level claiming enough room.
  const long = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20];
  const claimed = Uint8Array.from([0x3a, ...long, 0x0a, ...long, 0x0a, ...long, 0x61]);
  expect(refusal(write(claimed)).message).toMatch(/cut short/);
});

it('refuses every file cut short, in one line', () => {
  const whole = readFileSync(STORIES);
  const path = write(whole);
  fc.assert(
    fc.property(fc.integer({ min: 1, max: whole.length - 1 }), (length) => {
      writeFileSync(path, whole);
      truncateSync(path, length);
      expect(refusal(path).code).toBe('MODEL_INVALID');
    }),
    // The last is a cut between two fields: all that is lost is the operator set.
    { numRuns: 40, examples: [[whole.length - 1], [whole.length - 4]] },
  );
});

// A whole small graph, and the nodes and first weights of a real one.
it.each([
  ['a tiny decoder', fixture('models/families/llama-dynamo.onnx'), 47_000, 100],
  ['a real model', STORIES, 150_000, 25],
])('survives any damage to %s: a graph or one clear line', (_, source, bytes, numRuns) => {
  const whole = readFileSync(source);
  const places = fc.integer({ min: 0, max: bytes - 1 });
  const damage = fc.array(fc.tuple(places, fc.integer({ min: 0, max: 255 })), {
    minLength: 1,
    maxLength: 8,
  });
  let refused = 0;
  const read = (path: string): void => {
    try {
      const graph = readGraph(path);
      describeGraph(graph);
      locateKeys(graph);
    } catch (error) {
      expect(error).toBeInstanceOf(KnnLMError);
      expect((error as KnnLMError).message).not.toContain('\n');
      refused++;
    }
  };
  fc.assert(
    fc.property(damage, (changes) => {
      const copy = Buffer.from(whole);
      for (const [place, value] of changes) copy[place] = value;
      read(write(copy));
    }),
    { numRuns },
  );
  expect(refused).toBeGreaterThan(numRuns / 10);
});
