/** Inputs of a decoder graph for one run: tokens, mask, positions, and the attention cache. */

import { KnnLMError } from '../errors.ts';
import type { Ort } from '../onnxruntime.ts';
import type { GraphDescription } from './onnx/describe-graph.ts';
import type { ValueInfo } from './onnx/graph.ts';
import { LOGITS_FROM } from './onnx/last-logits.ts';
import type { EncodedSources } from './source-encoder.ts';
import { inFormat } from './tensor-format.ts';

/** Cache tensors by input name, kept inside the worker between steps. */
export type KvCache = Record<string, Ort.Tensor>;

export interface FeedOptions extends CacheShape {
  /** What the (patched) graph must be fed. */
  inputs: readonly ValueInfo[];
  description: GraphDescription;
  /** (batch, length), row-major. */
  tokens: Int32Array;
  batch: number;
  length: number;
  /** Positions in the cache; 0 with an empty one. */
  past: number;
  cache?: KvCache | undefined;
  /** What the decoder of an encoder-decoder attends to, a row for each of the batch. */
  sources?: EncodedSources | undefined;
  /** (batch) positions that each row has read, where the cache has room for more. Default: `past`. */
  read?: ArrayLike<number>;
  /** How many of the last positions need logits: 1, or 0 for all (the exports' own convention). */
  logitsToKeep: 0 | 1;
}

/** Shape of the cache where the graph leaves it symbolic. */
export interface CacheShape {
  keyValueHeads?: number;
  headDim?: number;
}

/**
 * Short windows of a batch are padded on the right, and no mask marks the padding: attention is causal, so no real position
 * sees it. A full mask also keeps every row's arithmetic the same whatever its batch mates are. Of a cache with room to spare, the
 * mask hides what a row has not filled yet.
 */
export function buildFeeds(ort: typeof Ort, options: FeedOptions): Record<string, Ort.Tensor> {
  const { description, tokens, batch, length, past, read } = options;
  const dims = [batch, length];
  const total = past + length;
  const feeds: Record<string, Ort.Tensor> = {};
  for (const input of options.inputs) {
    const { name } = input;
    if (name === description.tokens) feeds[name] = integers(ort, input, dims, (i) => tokens[i]!);
    else if (name === description.attentionMask) {
      feeds[name] = integers(ort, input, [batch, total], (i) => {
        const position = i % total;
        return !read || position >= past || position < read[Math.floor(i / total)]! ? 1 : 0;
      });
    } else if (name === description.positionIds) {
      feeds[name] = integers(ort, input, dims, (i) => {
        const row = Math.floor(i / length);
        return (read?.[row] ?? past) + (i % length);
      });
    } else if (name === description.logitsToKeepInput) {
      feeds[name] = integers(ort, input, input.shape ?? [], () => options.logitsToKeep);
    } else if (name === LOGITS_FROM) {
      feeds[name] = integers(ort, input, [1], () => -options.logitsToKeep);
    } else if (name === description.sourceStates) {
      feeds[name] = inFormat(ort, options.sources!.states, input.elementType);
    } else if (name === description.sourceMask) {
      feeds[name] = options.sources!.mask;
    } else if (options.cache?.[name]) {
      feeds[name] = options.cache[name];
    } else if (description.cache.some((pair) => pair.input.name === name)) {
      feeds[name] = emptyCache(ort, input, options);
    }
  }
  return feeds;
}

/** An integer tensor of the type the graph wants. */
export function integers(
  ort: typeof Ort,
  input: ValueInfo,
  shape: readonly (number | string)[],
  valueAt: (index: number) => number,
): Ort.Tensor {
  const dims = shape.map((size) => (typeof size === 'number' ? size : 1));
  const count = dims.reduce((product, size) => product * size, 1);
  switch (input.elementType) {
    case 'int32': {
      const data = new Int32Array(count);
      for (let i = 0; i < count; i++) data[i] = valueAt(i);
      return new ort.Tensor('int32', data, dims);
    }
    case 'float32': {
      const data = new Float32Array(count);
      for (let i = 0; i < count; i++) data[i] = valueAt(i);
      return new ort.Tensor('float32', data, dims);
    }
    case 'int64':
    case undefined: {
      // Written as pairs of 32-bit halves, the lower one first: no BigInt per token. All values are small.
      const data = new BigInt64Array(count);
      const halves = new Int32Array(data.buffer);
      for (let i = 0; i < count; i++) {
        const value = valueAt(i);
        halves[2 * i] = value;
        if (value < 0) halves[2 * i + 1] = -1;
      }
      return new ort.Tensor('int64', data, dims);
    }
    default:
      throw new KnnLMError(
        'MODEL_UNSUPPORTED',
        `The graph's input ${input.name} is of type ${input.elementType}; int64 or int32 was expected. Use another export of the model.`,
      );
  }
}

/** A cache before the first token: no positions. */
function emptyCache(ort: typeof Ort, input: ValueInfo, options: FeedOptions): Ort.Tensor {
  const dims = cacheDims(input, options);
  const count = dims.reduce((product, size) => product * size, 1);
  if (input.elementType === 'float16')
    return new ort.Tensor('float16', new Uint16Array(count), dims);
  return new ort.Tensor('float32', new Float32Array(count), dims);
}

/** Named sizes are the batch (first axis), what config.json tells, and 0 for the length; sizes given are kept. */
export function cacheDims(
  { shape = ['', '', '', ''] }: Pick<ValueInfo, 'shape'>,
  { batch, keyValueHeads, headDim }: CacheShape & { batch: number },
): number[] {
  return shape.map((size, axis) => {
    if (axis === 0) return batch;
    if (typeof size === 'number') return size;
    if (axis === 1 && shape.length === 4) return keyValueHeads ?? 0;
    if (axis === 3) return headDim ?? 0;
    return 0;
  });
}
