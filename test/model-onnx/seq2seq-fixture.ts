/** A tiny encoder-decoder as the hub has them, unpacked, with what PyTorch saw in its decoder. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { rankGraphs } from '../../dist/model/model-files.js';
import { ModelGraphs } from '../../dist/model/model-graphs.js';
import { ModelRuntime } from '../../dist/model/model-runtime.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { locateKeys } from '../../dist/model/onnx/locate-keys.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { type EncodedSources, SourceEncoder } from '../../dist/model/source-encoder.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import type { KeyName } from '../../src/model/language-model.ts';
import type { RuntimePlan } from '../../src/model/worker-protocol.ts';
import { type HubFixture, onwardOf, type Truth } from './hub-fixture.ts';
import { fixture } from './support.ts';

export interface Seq2SeqFixture extends HubFixture {
  /** With the token ids of a source. */
  truth: Truth & { source: number[] };
  encoderPath: string;
  onwardPath: string | undefined;
}

export const seq2seqNames = (): string[] => readdirSync(fixture('models/seq2seq'));

export function openSeq2Seq(name: string, temporary: string): Seq2SeqFixture {
  const source = fixture(`models/seq2seq/${name}`);
  const folder = join(temporary, name);
  mkdirSync(folder, { recursive: true });
  const files = readdirSync(source).filter((file) => file.endsWith('.gz'));
  for (const file of files) {
    const unpacked = gunzipSync(readFileSync(join(source, file)));
    writeFileSync(join(folder, file.replace('.gz', '')), unpacked);
  }
  const [best] = rankGraphs(files.map((file) => file.replace('.gz', '')));
  const path = join(folder, best!.file);
  const graph = readGraph(path);
  return {
    name,
    path,
    graph,
    encoderPath: join(folder, best!.encoder!),
    onwardPath: best!.onward && join(folder, best!.onward),
    description: describeGraph(graph),
    located: locateKeys(graph),
    truth: JSON.parse(readFileSync(join(source, 'truth.json'), 'utf8')),
  };
}

/** The model as a worker runs it, with one of the keys. */
export const openSeq2SeqRuntime = (
  model: Seq2SeqFixture,
  key: KeyName = 'ffn-input',
): Promise<ModelRuntime> => ModelRuntime.open(planOf(model, key));

/** What the encoder alone makes of the fixture's source. */
export async function encodedSource(model: Seq2SeqFixture): Promise<EncodedSources> {
  const graphs = new ModelGraphs(planOf(model, 'ffn-input'), await loadOnnxRuntime());
  const encoder = new SourceEncoder(graphs, model.encoderPath);
  return encoder.encode([Int32Array.from(model.truth.source)]);
}

function planOf(model: Seq2SeqFixture, key: KeyName): RuntimePlan {
  const { path, graph, encoderPath, onwardPath, description, located } = model;
  const { tensor, width } = located.keys[key] as { tensor: string; width: number };
  return {
    path,
    keyTensor: tensor,
    onward: graph.branch
      ? onwardOf(path, { cached: true }, key)
      : onwardPath === undefined
        ? undefined
        : onwardOf(onwardPath, { cached: false }, key),
    encoderPath,
    logitsTensor: description.logits.name,
    keyDim: width,
    threads: 1,
    provider: 'cpu',
    uniformLength: undefined,
    cacheBytes: 2 ** 20,
    keyValueHeads: undefined,
    headDim: undefined,
    vocabSize: 100,
    bos: 1,
    pad: 0,
    contextLength: 64,
    dtype: description.dtype,
  };
}
