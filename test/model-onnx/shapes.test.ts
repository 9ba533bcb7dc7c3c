import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { checkExternalData } from '../../dist/model/onnx/external-data.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { type Field, ProtobufFile } from '../../dist/model/onnx/protobuf-file.js';
import { messageField, stringField } from '../../dist/model/onnx/protobuf-writer.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { fixture, floats, maxDifference, runGraph } from './support.ts';

const shape = (name: string): string => fixture(`models/shapes/${name}.onnx`);
const truth = JSON.parse(readFileSync(fixture('models/families/llama.json'), 'utf8')) as {
  tokens: number[];
  keys: Record<string, number[][]>;
};
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-onnx-'));
afterAll(() => rmSync(temporary, { recursive: true }));

/** A copy of a graph whose weights lie so many bytes further on in their file. */
function movedWeights(source: string, by: number, folder: string): string {
  const file = new ProtobufFile(source);
  /** A message again, its fields of one number made anew. */
  const edited = (fields: Iterable<Field>, number: number, edit: (field: Field) => Uint8Array) =>
    Array.from(fields, (field) =>
      field.number === number
        ? edit(field)
        : Buffer.from(file.bytes(field.from, field.end - field.from)),
    );
  const entry = (field: Field): Uint8Array => {
    const [key, value] = Array.from(file.message(field), (part) => file.string(part));
    const moved = key === 'offset' ? String(Number(value) + by) : value!;
    return messageField(13, stringField(1, key!), stringField(2, moved));
  };
  const tensor = (field: Field) => messageField(5, ...edited(file.message(field), 13, entry));
  const graph = (field: Field) => messageField(7, ...edited(file.message(field), 5, tensor));
  const path = join(folder, 'far.onnx');
  writeFileSync(path, Buffer.concat(edited(file.fields(0, file.size), 7, graph)));
  file.close();
  return path;
}

/** @param path of a graph that is the tiny Llama */
async function expectKeysOfLlama(path: string, folder?: string): Promise<void> {
  const graph = readGraph(path);
  const { keys, warnings } = locateKeys(graph);
  expect(warnings).toEqual([]);
  const expose = Object.fromEntries(KEY_NAMES.map((key) => [`knn_${key}`, keys[key].tensor!]));
  const patched = patchGraph(graph, { expose, keepOutputs: [] });
  const outputs = await runGraph(patched, truth.tokens, [], { externalFolder: folder });
  for (const key of KEY_NAMES) {
    expect(keys[key]).toMatchObject({ elementType: 'float32', width: 16 });
    const row = floats(outputs[`knn_${key}`]).slice(-16);
    expect(maxDifference(row, truth.keys[key]!.at(-1)!), key).toBeLessThan(1e-4);
  }
}

it('finds all keys where norms and residual additions are fused, the unnamed last sum too', async () => {
  const location = locateKeys(readGraph(shape('fused-norms'))).keys['output-before-norm'];
  expect(location.tensor).toMatch(/^\S+ \+ \S+$/);
  await expectKeysOfLlama(shape('fused-norms'));
});

it('finds keys for all positions in a graph that gives logits for the last one only, and says so', async () => {
  expect(describeGraph(readGraph(shape('last-logits-only'))).lastPositionOnly).toBe(true);
  await expectKeysOfLlama(shape('last-logits-only'));
});

it('recognizes num_logits_to_keep and needs no such input where the head is cut away', async () => {
  const description = describeGraph(readGraph(shape('num-logits-to-keep')));
  expect(description).toMatchObject({
    logitsToKeepInput: 'num_logits_to_keep',
    lastPositionOnly: false,
    hiddenWidth: 16,
    logits: { vocabSize: 100 },
    problems: [],
  });
  await expectKeysOfLlama(shape('num-logits-to-keep'));
});

it('reads weights that lie in a file beside the graph', async () => {
  const graph = readGraph(shape('external'));
  expect(graph.externalFiles).toEqual(['external.onnx_data']);
  checkExternalData(graph);
  await expectKeysOfLlama(shape('external'), dirname(graph.path));
});

it('reads weights beyond the first two gigabytes of that file', async () => {
  const far = 2 ** 31 + 4096;
  const folder = mkdtempSync(join(temporary, 'far-'));
  const path = movedWeights(shape('external'), far, folder);
  const data = await open(join(folder, 'external.onnx_data'), 'w');
  // A hole in the disk, then the weights.
  await data.write(
    readFileSync(join(dirname(shape('external')), 'external.onnx_data')),
    0,
    null,
    far,
  );
  await data.close();
  const graph = readGraph(path);
  checkExternalData(graph);
  await expectKeysOfLlama(path, folder);
});

it('names no external file when a truncated graph needs none of it', () => {
  const graph = readGraph(shape('external'));
  const root = patchGraph(graph, { expose: { mask: 'attention_mask' }, keepOutputs: [] });
  expect(root.externalFiles).toEqual([]);
  expect(root.inputs.map((input) => input.name)).toEqual(['attention_mask']);
});

it('says when the file with the weights is missing or cut short', () => {
  const path = join(temporary, 'external.onnx');
  copyFileSync(shape('external'), path);
  const graph = readGraph(path);
  expect(() => checkExternalData(graph)).toThrow(/external\.onnx_data, which is not in its folder/);
  const data = join(temporary, 'external.onnx_data');
  copyFileSync(join(dirname(shape('external')), 'external.onnx_data'), data);
  truncateSync(data, 1000);
  expect(() => checkExternalData(graph)).toThrow(/has 1000 bytes and the model needs 31232/);
});

it('reads a merged decoder as the one of its two that begins a text', async () => {
  const graph = readGraph(shape('merged'));
  expect(graph.branch).toBe('else_branch');
  expect(describeGraph(graph).problems).toEqual([]);
  expect(graph.inputs.map((input) => input.name)).toEqual(['input_ids', 'attention_mask']);
  await expectKeysOfLlama(shape('merged'));
  const patched = patchGraph(graph, { expose: { knn_logits: 'logits' } });
  expect(patched.inputs.map((input) => input.name)).toEqual(['input_ids', 'attention_mask']);
  // One of the two copies of the nodes is gone.
  expect(patched.bytes.length).toBeLessThan(0.7 * graph.fileBytes);
  expect(readGraph(shape('merged'), { cached: true }).branch).toBe('then_branch');
});
