/** From the output of a normalization back to its input, whether it is one node or spelled out in ten. */
import type { Dataflow } from './dataflow.ts';
import {
  FUSED_NORM,
  NORM_PARTS,
  PASS_THROUGH,
  REDUCTIONS,
  SKIP_NORM,
  SKIP_NORM_SUM,
  skipNormTerms,
} from './operators.ts';
import { ROOT, type Trunk } from './trunk.ts';

/** LayerNorm takes two steps of the dominator chain (deviation, mean), scale, shift and casts one each. */
const MOST_STEPS = 10;

export type NormInput = { tensor: string } | { tensor: undefined; reason: string };

export function findNormInput(flow: Dataflow, trunk: Trunk, output: string): NormInput {
  const maker = flow.producer.get(output);
  const node = maker === undefined ? undefined : flow.graph.nodes[maker]!;
  if (node && SKIP_NORM.has(node.op)) {
    if (output !== node.outputs[0]) return nothing(`no normalization makes ${output}`);
    // The last norm of a model has no use for the sum itself, so its graph does not name it.
    return { tensor: node.outputs[SKIP_NORM_SUM] || skipNormTerms(node).join(' + ') };
  }
  if (node && FUSED_NORM.has(node.op)) {
    return { tensor: beforeMean(flow, unCast(flow, node.inputs[0]!)) };
  }
  const input = maker === undefined ? undefined : spelledOut(flow, trunk, maker);
  return input ? { tensor: input } : nothing(`no normalization makes ${output}`);
}

const nothing = (reason: string): NormInput => ({ tensor: undefined, reason });

/**
 * Climbs the dominators of the norm's output while everything between is arithmetic, up to the step over which a mean is
 * taken: x · f(mean(x²)) leaves and rejoins at x.
 */
function spelledOut(flow: Dataflow, trunk: Trunk, maker: number): string | undefined {
  const { nodes } = flow.graph;
  if (!trunk.has(maker)) return undefined;
  for (let node = maker, step = 0; step < MOST_STEPS && node !== ROOT; step++) {
    if (!NORM_PARTS.has(nodes[node]!.op)) {
      if (!PASS_THROUGH.has(nodes[node]!.op)) return undefined;
    }
    const dominator = trunk.dominatorOf(node);
    const region = trunk.between(dominator, node);
    const parts = region.map((i) => nodes[i]!.op);
    if (!parts.every((op) => NORM_PARTS.has(op) || REDUCTIONS.has(op))) return undefined;
    if (parts.some((op) => REDUCTIONS.has(op))) {
      return beforeCentering(flow, trunk, dominator, [...region, node]);
    }
    node = dominator;
  }
  return undefined;
}

/** LayerNorm first takes the mean off: then the norm's input is one step further up. */
function beforeCentering(
  flow: Dataflow,
  trunk: Trunk,
  dominator: number,
  readers: number[],
): string | undefined {
  const { nodes } = flow.graph;
  if (dominator !== ROOT && ['Sub', 'Cast'].includes(nodes[dominator]!.op)) {
    const centering = nodes[dominator]!.op === 'Sub' ? dominator : trunk.dominatorOf(dominator);
    if (centering !== ROOT && nodes[centering]!.op === 'Sub') {
      const above = trunk.dominatorOf(centering);
      const region = trunk.between(above, centering);
      const isMean =
        region.length > 0 && region.every((i) => ['ReduceMean', 'Cast'].includes(nodes[i]!.op));
      if (isMean) return finish(flow, trunk.tensorFrom(above, [...region, centering]));
    }
  }
  return finish(flow, trunk.tensorFrom(dominator, readers));
}

/** Of a spelled-out LayerNorm onnxruntime may fuse all but the centering: x − mean(x) enters an RMS norm. */
function beforeMean(flow: Dataflow, tensor: string): string {
  const node = flow.producerOf(tensor);
  if (node?.op !== 'Sub') return tensor;
  const [kept = '', mean = ''] = node.inputs.map((name) => unCast(flow, name));
  const reduction = flow.producerOf(mean);
  const isMean = reduction?.op === 'ReduceMean';
  return isMean && unCast(flow, reduction.inputs[0] ?? '') === kept ? kept : tensor;
}

const finish = (flow: Dataflow, tensor: string | undefined): string | undefined =>
  tensor === undefined ? undefined : unCast(flow, tensor);

const CASTS = new Set(['Cast', 'Identity']);
/** Norms compute in float32; what enters them is the tensor before that cast. */
const unCast = (flow: Dataflow, tensor: string): string => flow.sourceOf(tensor, CASTS);
