/** The graph's logits and the hidden state they are computed from. */
import { KnnLMError } from '../../errors.ts';
import type { Dataflow } from './dataflow.ts';
import type { OnnxGraph, ValueInfo } from './graph.ts';
import { factorsOf, PASS_THROUGH, SELECTIONS } from './operators.ts';
import { ROOT, type Trunk } from './trunk.ts';

/** Inputs that say for how many last positions logits are wanted: 0 for all. */
const LOGITS_TO_KEEP = ['num_logits_to_keep', 'logits_to_keep'];

export const logitsToKeepInput = (graph: OnnxGraph): string | undefined =>
  graph.inputs.find((input) => LOGITS_TO_KEEP.includes(input.name))?.name;

/** The output named `logits`, or the only one that is neither cache nor hidden state. Errors: `MODEL_UNSUPPORTED`. */
export function findLogits(graph: OnnxGraph): ValueInfo {
  const named = graph.outputs.find((output) => output.name === 'logits');
  if (named) return named;
  const others = graph.outputs.filter((output) => !/present|past|hidden_state/.test(output.name));
  if (others.length === 1) return others[0]!;
  const names = graph.outputs.map((output) => output.name.replace(/\p{Cc}/gu, '\uFFFD'));
  throw new KnnLMError(
    'MODEL_UNSUPPORTED',
    `${graph.path} has no output named logits; it has ${names.join(', ')}. Use the export of a causal language model.`,
  );
}

export interface Head {
  /** The product with the vocabulary's weights: index of its node. */
  node: number;
  /** d, where the graph tells. */
  width: number | undefined;
  /** What it reads, before any selection of positions: the model's output at every position. */
  hidden: string;
  /** Rows of its weights: V. */
  vocabSize: number | undefined;
  /** The selection between `hidden` and the product, when there is one that drops positions. */
  selection: 'none' | 'input' | 'fixed';
}

/**
 * Up the trunk from the logits to the first product with a weight. It may lie beside the trunk: dynamic quantization hands
 * the scale on past it. Undefined when there is none before the last block.
 */
export function findHead(flow: Dataflow, trunk: Trunk): Head | undefined {
  for (let node = trunk.last; node !== ROOT; node = trunk.dominatorOf(node)) {
    const stretch = [node, ...trunk.between(trunk.dominatorOf(node), node)];
    const products = stretch.filter((i) => flow.weightProductInput(flow.graph.nodes[i]!));
    if (products.length === 1) return headAt(flow, products[0]!);
    if (products.length > 1) return undefined;
  }
  return undefined;
}

function headAt(flow: Dataflow, node: number): Head {
  const product = flow.graph.nodes[node]!;
  const input = flow.weightProductInput(product)!;
  const weight = factorsOf(product)!.find((name) => name !== input)!;
  const width = flow.widthOf(input);
  const vocabSize = vocabularyOf(flow, node, weight, width);
  return { node, vocabSize, width, ...beforeSelection(flow, input) };
}

function vocabularyOf(
  flow: Dataflow,
  node: number,
  weight: string,
  width: number | undefined,
): number | undefined {
  const stated = flow.graph.nodes[node]!.attributes.get('N');
  if (typeof stated === 'number') return stated;
  const dims = flow.constantShape(weight);
  // The vocabulary is the side that is not the input's width.
  return dims?.length === 2 ? dims[dims[0] === width ? 1 : 0] : undefined;
}

/** Back over selections of positions (last token only, num_logits_to_keep) and factors by a number. */
function beforeSelection(flow: Dataflow, input: string): Pick<Head, 'hidden' | 'selection'> {
  let selection: Head['selection'] = 'none';
  for (let hidden = flow.sourceOf(input, PASS_THROUGH); ; ) {
    const node = flow.producerOf(hidden);
    const source = node?.inputs[0];
    if (!node || !source) return { hidden, selection };
    if (SELECTIONS.has(node.op) && flow.activations.has(source)) {
      const controls = node.inputs.slice(1).filter(Boolean);
      if (!keepsEverything(flow, node.op, controls)) {
        selection = controls.some((name) => readsLogitsToKeep(flow, name)) ? 'input' : 'fixed';
      }
    } else if (!isScaling(flow, node.op, node.inputs)) return { hidden, selection };
    const [kept] = node.inputs.filter((name) => flow.activations.has(name));
    hidden = flow.sourceOf(kept!, PASS_THROUGH);
  }
}

/** hidden[:, 0:, :] is what `logits_to_keep = 0` leaves in a traced graph. */
function keepsEverything(flow: Dataflow, op: string, controls: string[]): boolean {
  if (op !== 'Slice') return false;
  const [starts, ends] = controls.map((name) => flow.constantValues(name));
  return !!starts?.every((start) => start === 0) && !!ends?.every((end) => end >= 2 ** 31 - 1);
}

function readsLogitsToKeep(flow: Dataflow, tensor: string): boolean {
  const wanted = logitsToKeepInput(flow.graph);
  const queue = [tensor];
  for (const name of queue) {
    if (name === wanted) return true;
    const node = flow.producerOf(name);
    if (node && !flow.isConstant(name) && queue.length < 64)
      queue.push(...node.inputs.filter(Boolean));
  }
  return false;
}

/** Multiplication or division by one number (Granite, MiniCPM): no part of the norm, whose factors are vectors. */
function isScaling(flow: Dataflow, op: string, inputs: string[]): boolean {
  if (op !== 'Mul' && op !== 'Div') return false;
  const factor = inputs.find((name) => flow.isConstant(name));
  const dims = factor === undefined ? undefined : flow.constantShape(factor);
  return dims?.every((size) => size === 1) === true;
}
