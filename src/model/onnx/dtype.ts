/** The number format of a graph's weights, by what its products read. */
import { KnnLMError } from '../../errors.ts';
import type { ModelDtype } from '../language-model.ts';
import type { Dataflow } from './dataflow.ts';
import type { OnnxGraph } from './graph.ts';
import { intAttribute } from './graph.ts';
import { DYNAMIC_INT8 } from './operators.ts';
import { elementCount } from './read-tensor.ts';

/** The first operator that quantizes activations over the whole run, if any. */
export const dynamicInt8Operator = (graph: OnnxGraph): string | undefined =>
  graph.nodes.find((node) => DYNAMIC_INT8.has(node.op))?.op;

/** Errors: `MODEL_UNSUPPORTED` for formats onnxruntime has no CPU products for. */
export function classifyDtype(flow: Dataflow): ModelDtype {
  const { graph } = flow;
  for (const node of graph.nodes) {
    if (node.op === 'MatMulBnb4') return 'bnb4';
    if (node.op === 'MatMulNBits' && intAttribute(node, 'bits', 4) <= 4) {
      // The scales are in the format the products are computed in.
      return flow.elementTypeOf(node.inputs[2]!) === 'float16' ? 'q4f16' : 'q4';
    }
  }
  if (graph.nodes.some((node) => node.op === 'MatMulNBits' || DYNAMIC_INT8.has(node.op))) {
    return 'int8';
  }
  return byLargestShare(flow);
}

/** Elements by type over all weights; the type with most wins. */
function byLargestShare({ graph }: Dataflow): ModelDtype {
  const elements = new Map<string, number>();
  for (const { elementType, dims } of graph.initializers.values()) {
    if (!elementType || dims.length < 2) continue;
    elements.set(elementType, (elements.get(elementType) ?? 0) + elementCount(dims));
  }
  const [type] = [...elements].sort((a, b) => b[1] - a[1])[0] ?? ['float32'];
  const half = elements.has('float16') && !elements.has('float32');
  const formats: Record<string, ModelDtype> = {
    float32: 'fp32',
    float16: 'fp16',
    int8: 'int8',
    uint8: 'int8',
    int4: half ? 'q4f16' : 'q4',
    uint4: half ? 'q4f16' : 'q4',
  };
  const format = formats[type];
  if (format) return format;
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    `${graph.path} has its weights in ${type}. Use an fp32, fp16, q4 or q4f16 export.`,
  );
}
