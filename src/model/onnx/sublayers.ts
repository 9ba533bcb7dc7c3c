/** Which products with weights belong to attention and which to the feed-forward network, within one segment of the trunk. */
import type { Dataflow } from './dataflow.ts';
import { FUSED_ATTENTION, factorsOf } from './operators.ts';
import type { Segment } from './trunk.ts';

export interface Sublayers {
  segment: Segment;
  hasAttention: boolean;
  /** Its attention is to the states of an encoder, not to the decoder's own. */
  toSource: boolean;
  /** Its softmaxes or fused attention nodes. */
  attention: number[];
  /** Products whose result attention reads: query, key and value projections. Node indices. */
  intoAttention: number[];
  /** Products neither before nor after attention. */
  feedForward: number[];
}

/** Segments with at least two products with weights; one alone is a projection on the way, not a sublayer. */
export function findSublayers(flow: Dataflow, segments: readonly Segment[]): Sublayers[] {
  return segments
    .filter(
      ({ nodes }) =>
        nodes.filter((i) => isWeightProduct(flow, i)).length >= 2 ||
        nodes.some((i) => isFusedExperts(flow, i)),
    )
    .map((segment) => divide(flow, segment));
}

const isWeightProduct = (flow: Dataflow, index: number): boolean =>
  flow.weightProductInput(flow.graph.nodes[index]!) !== undefined;

/** A whole mixture of experts in one node. */
const isFusedExperts = (flow: Dataflow, index: number): boolean =>
  ['MoE', 'QMoE'].includes(flow.graph.nodes[index]!.op);

function divide(flow: Dataflow, segment: Segment): Sublayers {
  const inside = new Set(segment.nodes);
  const attention = segment.nodes.filter((i) => isAttention(flow, i, inside));
  const after = reach(flow, attention, inside, 'down');
  // The product of attention weights and values is where the value projection joins.
  const mixing = segment.nodes.filter(
    (i) => after.has(i) && flow.isActivationProduct(flow.graph.nodes[i]!),
  );
  const before = reach(flow, [...attention, ...mixing], inside, 'up');
  const products = segment.nodes.filter((i) => isWeightProduct(flow, i));
  return {
    segment,
    hasAttention: attention.length > 0,
    toSource: attention.length > 0 && attendsToSource(flow, segment.nodes),
    attention,
    intoAttention: products.filter((i) => before.has(i) && !after.has(i)),
    feedForward: products.filter((i) => !before.has(i) && !after.has(i)),
  };
}

/** Sublayers that attend to what the decoder itself has read: one in each block. */
export const ownAttention = (sublayers: readonly Sublayers[]): Sublayers[] =>
  sublayers.filter(({ hasAttention, toSource }) => hasAttention && !toSource);

/** Queries meet keys, and weights values, that do not depend on the tokens read. */
function attendsToSource(flow: Dataflow, nodes: readonly number[]): boolean {
  const pairs = nodes.flatMap((i): (readonly string[])[] => {
    const node = flow.graph.nodes[i]!;
    if (flow.isActivationProduct(node)) return [factorsOf(node)!];
    // Query, key and value, the last two missing where all three lie in the first.
    return FUSED_ATTENTION.has(node.op) && node.inputs[1] ? [node.inputs.slice(0, 2)] : [];
  });
  const isGiven = (name: string): boolean => !flow.activations.has(name);
  return pairs.length > 0 && pairs.every((names) => names.some(isGiven));
}

/**
 * A fused attention node, or a softmax over scores: the product of two activations. A router's softmax is over a weight product.
 * onnxruntime spells a softmax out where it has none for the number format: then its exponential stands for it.
 */
function isAttention(flow: Dataflow, index: number, inside: Set<number>): boolean {
  const { nodes } = flow.graph;
  if (FUSED_ATTENTION.has(nodes[index]!.op)) return true;
  if (nodes[index]!.op !== 'Softmax' && nodes[index]!.op !== 'Exp') return false;
  const stopsAtProducts = (i: number): boolean =>
    !isWeightProduct(flow, i) && !flow.isActivationProduct(nodes[i]!);
  const scores = reach(flow, [index], inside, 'up', stopsAtProducts);
  return [...scores].some((i) => flow.isActivationProduct(nodes[i]!));
}

/** Nodes of `inside` reachable from `starts`, these included, not going on from nodes that `passes` refuses. */
export function reach(
  flow: Dataflow,
  starts: readonly number[],
  inside: ReadonlySet<number>,
  direction: 'up' | 'down',
  passes: (node: number) => boolean = () => true,
): Set<number> {
  const seen = new Set<number>(starts);
  const queue = [...starts];
  for (const index of queue) {
    if (!passes(index)) continue;
    const node = flow.graph.nodes[index]!;
    const next =
      direction === 'up'
        ? flow.activationInputs(node).map((name) => flow.producer.get(name)!)
        : node.outputs.flatMap((name) => flow.consumers.get(name) ?? []);
    for (const other of next) {
      if (seen.has(other) || !inside.has(other)) continue;
      seen.add(other);
      queue.push(other);
    }
  }
  return seen;
}

/**
 * The one tensor that all of the given products start from, reshapes and casts aside: gate and up projection share it,
 * as do query, key and value. Undefined when there is none.
 */
export function sharedInput(
  flow: Dataflow,
  products: readonly number[],
  segment: Segment,
): string | undefined {
  const inside = new Set(segment.nodes);
  const inputs = new Map<number, string>();
  for (const index of products) {
    inputs.set(index, flow.sourceOf(flow.weightProductInput(flow.graph.nodes[index]!)!));
  }
  // Nodes come in order: the first product cannot follow another; all others must read its input or follow from it.
  const [first] = products;
  if (first === undefined) return undefined;
  const source = inputs.get(first)!;
  const maker = flow.producer.get(source);
  const below =
    maker !== undefined && inside.has(maker)
      ? reach(flow, [maker], inside, 'down')
      : new Set(segment.nodes);
  return products.every((index) => below.has(index)) ? source : undefined;
}
