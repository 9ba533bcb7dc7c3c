/**
 * log p(target) inside the graph: the log-softmax of the logits at each target, and its maximum, how sure the model is.
 *
 * Without it every score would carry (T, V) logits to JavaScript: 311 MB for 512 positions of a 152k vocabulary.
 * LogSoftmax costs memory for a second (T, V) tensor, but onnxruntime vectorizes it and not ReduceLogSumExp: for 128 positions
 * and V = 50,257 on one thread 12 ms against 87 ms, with a tenth of the error. Both subtract the maximum first.
 */
import { KnnLMError } from '../../errors.ts';
import { elementTypeCode } from './element-types.ts';
import { encodeIntegers, encodeNode, encodeValueInfo } from './encode-nodes.ts';
import type { OnnxGraph, ValueInfo } from './graph.ts';

export const LOG_PROB_TARGETS = 'knn_targets';
export const LOG_PROB_OUTPUT = 'knn_log_probs';
export const BEST_OUTPUT = 'knn_best_log_prob';

/** GatherElements came with operator set 11. */
const OLDEST_OPSET = 11;
/** From here on Squeeze and Unsqueeze take their axes as an input. */
const AXES_INPUT_OPSET = 13;
/** From here on ReduceMax does. */
const REDUCE_AXES_INPUT_OPSET = 18;

export const logProbTargets: ValueInfo = {
  name: LOG_PROB_TARGETS,
  elementType: 'int64',
  shape: ['knn_batch', 'knn_sequence'],
};

/** GraphProto fields computing both, (batch, sequence) each, from `logits` (batch, sequence, V). */
export function encodeLogProbHead(graph: OnnxGraph, logits: string): Uint8Array[] {
  const opset = graph.opsets.get('') ?? 0;
  if (opset < OLDEST_OPSET) {
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      `${graph.path} uses ONNX operator set ${opset}; scoring needs ${OLDEST_OPSET} or newer. Export the model again.`,
    );
  }
  const within = (name: string): string => `${LOG_PROB_OUTPUT}/${name}`;
  const [axis, columns, logits32] = [within('axis'), within('columns'), within('logits')];
  const [logProbs, picked] = [within('all'), within('picked')];
  /** Adds or takes away the last axis. */
  const reshape = (op: 'Squeeze' | 'Unsqueeze', input: string, output: string): Uint8Array =>
    encodeNode(
      opset >= AXES_INPUT_OPSET
        ? { op, inputs: [input, axis], output }
        : { op, inputs: [input], output, attributes: { axes: [2] } },
    );
  const node = (
    op: string,
    inputs: string[],
    output: string,
    attributes: Record<string, number | number[]>,
  ) => encodeNode({ op, inputs, output, attributes });
  return [
    encodeIntegers(axis, [2]),
    encodeValueInfo(11, LOG_PROB_TARGETS, 'int64', logProbTargets.shape as string[]),
    node('Cast', [logits], logits32, { to: elementTypeCode('float32') }),
    node('LogSoftmax', [logits32], logProbs, { axis: 2 }),
    reshape('Unsqueeze', LOG_PROB_TARGETS, columns),
    node('GatherElements', [logProbs, columns], picked, { axis: 2 }),
    reshape('Squeeze', picked, LOG_PROB_OUTPUT),
    encodeValueInfo(12, LOG_PROB_OUTPUT, 'float32'),
    opset >= REDUCE_AXES_INPUT_OPSET
      ? node('ReduceMax', [logProbs, axis], BEST_OUTPUT, { keepdims: 0 })
      : node('ReduceMax', [logProbs], BEST_OUTPUT, { axes: [2], keepdims: 0 }),
    encodeValueInfo(12, BEST_OUTPUT, 'float32'),
  ];
}
