/** Runs a patched graph as the model worker does: from memory, through onnxruntime. */
import { fileURLToPath } from 'node:url';
import type * as Ort from 'onnxruntime-node';
import { encodeNode, encodeValueInfo, type NewNode } from '../../dist/model/onnx/encode-nodes.js';
import type { ValueInfo } from '../../dist/model/onnx/graph.js';
import { LOGITS_FROM } from '../../dist/model/onnx/last-logits.js';
import type { PatchedGraph } from '../../dist/model/onnx/patch-graph.js';
import { integerField, messageField, stringField } from '../../dist/model/onnx/protobuf-writer.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';

export const fixture = (path: string): string =>
  fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));

export const STORIES = fixture('models/stories260K/onnx/model.onnx');

/** Feeds one row of tokens (and targets), an empty cache, ones as mask; returns all outputs. */
export async function runGraph(
  patched: PatchedGraph,
  tokens: number[],
  targets: number[] = [],
  { externalFolder, logitsFrom = 0 }: { externalFolder?: string; logitsFrom?: number } = {},
): Promise<Record<string, Ort.Tensor>> {
  const ort = await loadOnnxRuntime();
  const session = await ort.InferenceSession.create(patched.bytes, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
    ...(externalFolder && {
      extra: { session: { model_external_initializers_file_folder_path: externalFolder } },
    }),
  });
  const longs = (values: number[]): Ort.Tensor =>
    new ort.Tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const feed = (input: ValueInfo): Ort.Tensor => {
    if (input.name === 'input_ids') return longs(tokens);
    if (input.name === 'attention_mask') return longs(tokens.map(() => 1));
    if (input.name === 'position_ids') return longs(tokens.map((_, i) => i));
    if (input.name === 'knn_targets') return longs(targets);
    if (input.name === LOGITS_FROM)
      return new ort.Tensor('int64', BigInt64Array.of(BigInt(logitsFrom)), [1]);
    const [, heads, , width] = input.shape as [string, number, string, number];
    const empty = input.elementType === 'float16' ? new Uint16Array(0) : new Float32Array(0);
    return new ort.Tensor(input.elementType as 'float32', empty as Float32Array, [
      1,
      heads,
      0,
      width,
    ]);
  };
  const feeds = Object.fromEntries(patched.inputs.map((input) => [input.name, feed(input)]));
  const outputs = await session.run(feeds);
  await session.release();
  return outputs as Record<string, Ort.Tensor>;
}

export const floats = (tensor: Ort.Tensor | undefined): Float32Array =>
  tensor!.data as Float32Array;

export interface SmallGraph {
  opset?: number;
  nodes: NewNode[];
  /** float32 tensors. */
  weights?: Record<string, { dims: number[]; values: number[] }>;
  /** int64 inputs (batch, sequence). */
  inputs?: string[];
  /** float32 outputs. */
  outputs?: string[];
}

/** An ONNX file with `input_ids` and `logits`, from scratch. */
export function encodeModel(graph: SmallGraph): Buffer {
  const { opset = 17, nodes, weights = {}, inputs = ['input_ids'], outputs = ['logits'] } = graph;
  const parts = [
    ...nodes.map(encodeNode),
    ...Object.entries(weights).map(([name, { dims, values }]) =>
      messageField(
        5,
        ...dims.map((size) => integerField(1, size)),
        integerField(2, 1),
        stringField(8, name),
        messageField(9, Buffer.from(Float32Array.from(values).buffer)),
      ),
    ),
    ...inputs.map((name) => encodeValueInfo(11, name, 'int64', ['batch', 'sequence'])),
    ...outputs.map((name) => encodeValueInfo(12, name, 'float32')),
    stringField(2, 'small'),
  ];
  const imported = messageField(8, stringField(1, ''), integerField(2, opset));
  return Buffer.concat([integerField(1, 8), imported, messageField(7, ...parts)]);
}

/** Largest absolute difference of two equally long arrays. */
export function maxDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`${a.length} numbers against ${b.length}`);
  let most = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = Math.abs(a[i]! - b[i]!);
    // A NaN must not pass for equal.
    if (!(difference <= most)) most = difference;
  }
  return most;
}
