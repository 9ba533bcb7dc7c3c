/** Which ONNX operators mean what to the locator. Domains are ignored: names are distinct across those in use. */
import { intAttribute, type OnnxNode } from './graph.ts';

/** Products with a weight, and the inputs that hold it. */
const weightInputs: Record<string, number[]> = {
  MatMul: [0, 1],
  FusedMatMul: [0, 1],
  TransposeMatMul: [0, 1],
  Gemm: [0, 1],
  FusedGemm: [0, 1],
  MatMulInteger: [0, 1],
  MatMulIntegerToFloat: [0, 1],
  DynamicQuantizeMatMul: [0, 1],
  QLinearMatMul: [0, 3],
  QGemm: [0, 3],
  MatMulNBits: [0, 1],
  MatMulBnb4: [0, 1],
  MatMulFpQ4: [0, 1],
  GatherBlockQuantizedMatMul: [0, 1],
  MoE: [0, 2],
  QMoE: [0, 2],
};

/** The two factors of a matrix product, weight or not; undefined for other operators. */
export function factorsOf(node: OnnxNode): [string, string] | undefined {
  const places = weightInputs[node.op];
  if (places) return [node.inputs[places[0]!] ?? '', node.inputs[places[1]!] ?? ''];
  if (node.op === 'Einsum' && node.inputs.length === 2) return [node.inputs[0]!, node.inputs[1]!];
  return undefined;
}

/** Whole attention layers in one node. */
export const FUSED_ATTENTION = new Set([
  'Attention',
  'GroupQueryAttention',
  'MultiHeadAttention',
  'PackedMultiHeadAttention',
  'PackedAttention',
  'DecoderMaskedMultiHeadAttention',
  'DecoderMaskedSelfAttention',
  'PagedAttention',
  'SparseAttention',
  'QAttention',
]);

/** Pass their first input on unchanged, up to shape and number format. */
export const PASS_THROUGH = new Set([
  'Cast',
  'Identity',
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
  'Transpose',
  'QuantizeLinear',
  'DequantizeLinear',
  'DynamicQuantizeLinear',
  'Dropout',
]);

/** Normalizations in one node: the input is input 0. */
export const FUSED_NORM = new Set([
  'LayerNormalization',
  'SimplifiedLayerNormalization',
  'RMSNormalization',
]);

/** Residual addition and normalization in one node: output 0 is the norm's, output 3 (if asked for) the sum. */
export const SKIP_NORM = new Set(['SkipLayerNormalization', 'SkipSimplifiedLayerNormalization']);
export const SKIP_NORM_SUM = 3;

/** What such a node adds up: input, skip connection and, if any, the bias of the product before it. */
export function skipNormTerms(node: OnnxNode): string[] {
  const bias = node.inputs[node.op === 'SkipLayerNormalization' ? 4 : 3];
  return [node.inputs[0]!, node.inputs[1]!, ...(bias ? [bias] : [])];
}

/** What a normalization spelled out in plain operators consists of. */
export const NORM_PARTS = new Set([
  'Add',
  'Sub',
  'Mul',
  'Div',
  'Pow',
  'Sqrt',
  'Rsqrt',
  'Reciprocal',
  'Cast',
  'Identity',
  'Abs',
  'Max',
  'Clip',
  'Expand',
]);
export const REDUCTIONS = new Set(['ReduceMean', 'ReduceSum', 'ReduceSumSquare', 'ReduceL2']);

/** Read only their input's shape: no activation passes. */
export const SHAPE_ONLY = new Set(['Shape', 'Size', 'ConstantOfShape']);

/** Pick positions or rows of their first input. */
export const SELECTIONS = new Set(['Slice', 'Gather', 'GatherND', 'GatherElements']);

/** Quantize activations with one scale for the whole run: positions of other windows and later tokens change the result. */
export const DYNAMIC_INT8 = new Set(['DynamicQuantizeLinear', 'DynamicQuantizeMatMul']);

/** Width K of the activation a product reads, when its weight has these dimensions. */
export function inputWidth(node: OnnxNode, weight: number[] | undefined): number | undefined {
  const stated = node.attributes.get('K');
  if (typeof stated === 'number') return stated;
  if (weight?.length !== 2) return undefined;
  return intAttribute(node, 'transB', 0) === 1 ? weight[1] : weight[0];
}
