/**
 * log p(target) inside the graph: the value of each target's logit less the log-sum-exp of all logits.
 *
 * Without it every score would carry (T, V) logits to JavaScript: 311 MB for 512 positions of a 152k vocabulary.
 * onnxruntime's ReduceLogSumExp subtracts the maximum first, so logits of any size are safe (a test holds it to that).
 */
import { KnnLMError } from '../../errors.ts';
import { elementTypeCode } from './element-types.ts';
import { encodeIntegers, encodeNode, encodeValueInfo } from './encode-nodes.ts';
import type { OnnxGraph, ValueInfo } from './graph.ts';

export const LOG_PROB_TARGETS = 'knn_targets';
export const LOG_PROB_OUTPUT = 'knn_log_probs';

/** GatherElements came with operator set 11. */
const OLDEST_OPSET = 11;
/** From here on Squeeze and Unsqueeze take their axes as an input. */
const AXES_INPUT_OPSET = 13;
/** From here on the reductions do too. */
const REDUCE_AXES_INPUT_OPSET = 18;

export const logProbTargets: ValueInfo = {
  name: LOG_PROB_TARGETS,
  elementType: 'int64',
  shape: ['knn_batch', 'knn_sequence'],
};

/** GraphProto fields computing `knn_log_probs` (batch, sequence) from `logits` (batch, sequence, V). */
export function encodeLogProbHead(graph: OnnxGraph, logits: string): Uint8Array[] {
  const opset = graph.opsets.get('') ?? 0;
  if (opset < OLDEST_OPSET) {
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      `${graph.path} uses ONNX operator set ${opset}; scoring needs ${OLDEST_OPSET} or newer. Export the model again.`,
    );
  }
  const prefix = LOG_PROB_OUTPUT;
  const axisName = `${prefix}/axis`;
  /** A node over the last axis, its axes where this operator set wants them. */
  const overLastAxis = (
    op: string,
    input: string,
    output: string,
    axis: number,
    inputSince: number,
    attributes: Record<string, number> = {},
  ): Uint8Array =>
    encodeNode(
      opset >= inputSince
        ? { op, inputs: [input, axisName], output, attributes }
        : { op, inputs: [input], output, attributes: { ...attributes, axes: [axis] } },
    );
  const logits32 = `${prefix}/logits`;
  const columns = `${prefix}/columns`;
  const picked = `${prefix}/picked`;
  const target = `${prefix}/target`;
  const sum = `${prefix}/log_sum_exp`;
  return [
    encodeIntegers(axisName, [2]),
    encodeValueInfo(11, LOG_PROB_TARGETS, 'int64', logProbTargets.shape as string[]),
    encodeNode({
      op: 'Cast',
      inputs: [logits],
      output: logits32,
      attributes: { to: elementTypeCode('float32') },
    }),
    overLastAxis('Unsqueeze', LOG_PROB_TARGETS, columns, 2, AXES_INPUT_OPSET),
    encodeNode({
      op: 'GatherElements',
      inputs: [logits32, columns],
      output: picked,
      attributes: { axis: 2 },
    }),
    overLastAxis('Squeeze', picked, target, 2, AXES_INPUT_OPSET),
    overLastAxis('ReduceLogSumExp', logits32, sum, 2, REDUCE_AXES_INPUT_OPSET, { keepdims: 0 }),
    encodeNode({ op: 'Sub', inputs: [target, sum], output: LOG_PROB_OUTPUT }),
    encodeValueInfo(12, LOG_PROB_OUTPUT, 'float32'),
  ];
}
