/** Runs a patched graph as the model worker does: from memory, through onnxruntime. */
import { fileURLToPath } from 'node:url';
import type * as Ort from 'onnxruntime-node';
import type { ValueInfo } from '../../dist/model/onnx/graph.js';
import type { PatchedGraph } from '../../dist/model/onnx/patch-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';

export const fixture = (path: string): string =>
  fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));

export const STORIES = fixture('models/stories260K/onnx/model.onnx');

/** Feeds one row of tokens (and targets), an empty cache, ones as mask; returns all outputs. */
export async function runGraph(
  patched: PatchedGraph,
  tokens: number[],
  targets: number[] = [],
  externalFolder?: string,
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
