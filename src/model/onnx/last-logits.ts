/**
 * Logits of the last position alone, where they are wanted: exports without an input for that compute those of a whole prompt, a third of a
 * small model's work and (T, V) numbers. A slice before the product with the vocabulary's weights leaves the rest out.
 */
import { Dataflow } from './dataflow.ts';
import { encodeIntegers, encodeNode, encodeValueInfo } from './encode-nodes.ts';
import type { OnnxGraph, ValueInfo } from './graph.ts';
import { findHead, findLogits, logitsToKeepInput } from './logits.ts';
import type { Replacement } from './replacement.ts';
import { Trunk } from './trunk.ts';

export const LOGITS_FROM = 'knn_logits_from';

/** int64 (1): the first position whose logits are wanted, from the end where it is negative. */
const logitsFrom: ValueInfo = { name: LOGITS_FROM, elementType: 'int64', shape: [1] };

/** Slice took its bounds as inputs from here on. */
const OLDEST_OPSET = 10;
/** Past every position. */
const END = 2 ** 31 - 1;
/** What may be done with the product of each position by itself. */
const BY_POSITION = new Set(['Cast', 'Identity', 'Add', 'Sub', 'Mul', 'Div', 'Tanh']);

/** Undefined where the graph has such an input itself, or its head is not a plain product of all positions. */
export function lastLogits(graph: OnnxGraph): Replacement | undefined {
  if (logitsToKeepInput(graph) !== undefined) return undefined;
  if ((graph.opsets.get('') ?? 0) < OLDEST_OPSET) return undefined;
  const flow = new Dataflow(graph);
  const logits = findLogits(graph);
  if (logits.shape?.length !== 3 || !flow.activations.has(logits.name)) return undefined;
  const head = findHead(flow, new Trunk(flow, logits.name));
  if (head?.selection !== 'none') return undefined;
  const product = graph.nodes[head.node]!;
  const [hidden, weights] = product.inputs as [string, string];
  const [output] = product.outputs as [string];
  const isPlain = product.op === 'MatMul' && flow.weightProductInput(product) === hidden;
  if (!isPlain || !isByPosition(flow, output, logits.name)) return undefined;

  const within = (name: string): string => `${LOGITS_FROM}/${name}`;
  const [end, axis, kept] = [within('end'), within('axis'), within('hidden')];
  return {
    removed: new Set([product.position]),
    inputs: [logitsFrom],
    added: [
      encodeValueInfo(11, LOGITS_FROM, 'int64', logitsFrom.shape as number[]),
      encodeIntegers(end, [END]),
      encodeIntegers(axis, [1]),
      encodeNode({ op: 'Slice', inputs: [hidden, LOGITS_FROM, end, axis], output: kept }),
      encodeNode({ op: 'MatMul', inputs: [kept, weights], output }),
    ],
    reads: [hidden, weights],
  };
}

/** Whether the logits come from the product by operations on each number, with constants. */
function isByPosition(flow: Dataflow, product: string, logits: string): boolean {
  for (let tensor = logits; tensor !== product; ) {
    const node = flow.producerOf(tensor);
    if (!node || !BY_POSITION.has(node.op)) return false;
    const inputs = flow.activationInputs(node);
    if (
      inputs.length !== 1 ||
      !node.inputs.every((name) => name === inputs[0] || flow.isConstant(name))
    )
      return false;
    tensor = inputs[0]!;
  }
  return true;
}
