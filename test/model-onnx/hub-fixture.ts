/** A tiny decoder as the hub has them, unpacked, with what PyTorch saw in it; and what this project sees. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { buildFeeds } from '../../dist/model/graph-feeds.js';
import { KEY_NAMES, type KeyName } from '../../dist/model/language-model.js';
import { ModelRuntime } from '../../dist/model/model-runtime.js';
import { describeGraph, type GraphDescription } from '../../dist/model/onnx/describe-graph.js';
import type { OnnxGraph } from '../../dist/model/onnx/graph.js';
import { type KeyLocations, locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { patchGraph } from '../../dist/model/onnx/patch-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import type { EncodedSources } from '../../dist/model/source-encoder.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import { fixture, floats, maxDifference } from './support.ts';

// As the model's worker does, from Node 24 on.
Reflect.deleteProperty(globalThis, 'Float16Array');

export interface Truth {
  tokens: number[];
  /** Which positions the rows of `keys` and `logProbs` belong to; the last is the text's. */
  positions: [number, number];
  /** `model_type` of config.json. */
  family: string;
  /** Who wrote the graph. */
  exporter: string;
  dtype: string;
  /** Whether decoding can go on from an attention cache. */
  cache: boolean;
  keyValueHeads: number | null;
  headDim: number | null;
  /** Keys PyTorch's hooks saw, (positions, d); none where the family has no such norm. */
  keys: Partial<Record<KeyName, number[][]>>;
  /** (positions, V) */
  logProbs: number[][];
}

export interface HubFixture {
  name: string;
  path: string;
  graph: OnnxGraph;
  description: GraphDescription;
  located: KeyLocations;
  truth: Truth;
}

export function openFixture(name: string, folder: string): HubFixture {
  const path = join(folder, `${name}.onnx`);
  writeFileSync(path, gunzipSync(readFileSync(fixture(`models/hub/${name}.onnx.gz`))));
  const truth = JSON.parse(readFileSync(fixture(`models/hub/${name}.json`), 'utf8')) as Truth;
  const graph = readGraph(path);
  return {
    name,
    path,
    graph,
    truth,
    description: describeGraph(graph),
    located: locateKeys(graph),
  };
}

/** Largest difference of each located key from PyTorch's, all six taken from one run of the graph. */
export async function keyDifferences(
  graph: OnnxGraph,
  truth: Truth,
  sources?: EncodedSources,
): Promise<Partial<Record<KeyName, number>>> {
  const { keys } = locateKeys(graph);
  const located = KEY_NAMES.filter((key) => keys[key].tensor);
  const expose = Object.fromEntries(located.map((key) => [`knn_${key}`, keys[key].tensor!]));
  const { bytes, inputs } = patchGraph(graph, { expose, keepOutputs: [] });
  const ort = await loadOnnxRuntime();
  const session = await ort.InferenceSession.create(bytes, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
    extra: { session: { model_external_initializers_file_folder_path: dirname(graph.path) } },
  });
  const outputs = await session.run(
    buildFeeds(ort, {
      inputs,
      description: describeGraph(graph),
      tokens: Int32Array.from(truth.tokens),
      batch: 1,
      length: truth.tokens.length,
      past: 0,
      sources,
      logitsToKeep: 0,
      keyValueHeads: truth.keyValueHeads ?? undefined,
      headDim: truth.headDim ?? undefined,
    }),
  );
  await session.release();
  const differences: Partial<Record<KeyName, number>> = {};
  for (const key of located) {
    const all = floats(outputs[`knn_${key}`]);
    const width = all.length / truth.tokens.length;
    const rows = truth.positions.flatMap((p) => [...all.subarray(p * width, (p + 1) * width)]);
    const expected = truth.keys[key]?.flat();
    differences[key] = expected ? maxDifference(rows, expected) : Number.NaN;
  }
  return differences;
}

/** The model as a worker runs it, with one of the keys. */
export function openRuntime(model: HubFixture, key: KeyName = 'ffn-input'): Promise<ModelRuntime> {
  const location = model.located.keys[key];
  if (location.tensor === undefined) throw new Error(`${model.name} has no ${key}`);
  return ModelRuntime.open({
    path: model.path,
    keyTensor: location.tensor,
    onward: model.graph.branch && onwardOf(model.path, { cached: true }, key),
    encoderPath: undefined,
    logitsTensor: model.description.logits.name,
    keyDim: location.width,
    threads: 1,
    provider: 'cpu',
    keyValueHeads: model.truth.keyValueHeads ?? undefined,
    headDim: model.truth.headDim ?? undefined,
    uniformLength: undefined,
    cacheBytes: 2 ** 20,
    vocabSize: 100,
    bos: 1,
    pad: undefined,
    contextLength: 64,
    dtype: model.description.dtype,
  });
}

/** The decoder that reads on, with its own name of the key. */
export function onwardOf(path: string, { cached }: { cached: boolean }, key: KeyName) {
  const { tensor } = locateKeys(readGraph(path, { cached })).keys[key];
  if (tensor === undefined) throw new Error(`${path} has no ${key}`);
  return { path, cached, keyTensor: tensor };
}
