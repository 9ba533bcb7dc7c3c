/**
 * Finds the six key positions of Table 5 (Khandelwal et al., 2020) in any decoder's graph, by its shape, not its names.
 *
 * The last sublayer on the residual trunk is the feed-forward network, alone or beside attention. Its first product with a
 * weight reads `ffn-input`; the products that feed the last attention read `attention-input`, a decoder's attention to its
 * source apart; the product that gives the logits reads `output`. Each one's `-before-norm` is the input of the
 * normalization that made it.
 * Names differ by exporter, optimizer and family; they only serve to cross-check.
 */
import { KEY_NAMES, type KeyName } from '../language-model.ts';
import { Dataflow } from './dataflow.ts';
import type { ElementType } from './element-types.ts';
import type { OnnxGraph } from './graph.ts';
import { pairCache } from './kv-cache-tensors.ts';
import { findHead, findLogits } from './logits.ts';
import { disagreements, namedLike } from './name-rules.ts';
import { findNormInput } from './norm-input.ts';
import { findSublayers, ownAttention, type Sublayers, sharedInput } from './sublayers.ts';
import { Trunk } from './trunk.ts';

export type KeyLocation =
  | {
      /** A tensor's name, or a sum of several written `a + b`: what `PatchOptions.expose` takes. */
      tensor: string;
      elementType: ElementType | undefined;
      /** d, where the graph tells. */
      width: number | undefined;
    }
  | {
      tensor: undefined;
      /** One clause, to follow "cannot be located: ". */
      reason: string;
      /** Tensors whose names suggest this key, nearest first. */
      candidates: string[];
    };

export interface KeyLocations {
  keys: Record<KeyName, KeyLocation>;
  /** Attention and feed-forward network read the same residual side by side (GPT-NeoX, GPT-J, Phi, Falcon). */
  parallelResidual: boolean;
  /** Sublayers that hold attention. */
  layers: number;
  /** Where names contradict what was found, one line each. */
  warnings: string[];
}

/** A tensor's name, or why there is none. */
type Found = { tensor: string } | { tensor: undefined; reason: string };
const missing = (reason: string): Found => ({ tensor: undefined, reason });

/** Errors: `MODEL_UNSUPPORTED` when the graph has no logits. */
export function locateKeys(graph: OnnxGraph): KeyLocations {
  const logits = findLogits(graph).name;
  const flow = new Dataflow(graph);
  const obstacle = obstacleTo(flow, logits);
  if (obstacle) {
    const keys = Object.fromEntries(KEY_NAMES.map((key) => [key, missing(obstacle)]));
    return report(flow, keys as Record<KeyName, Found>, [], false);
  }
  const trunk = new Trunk(flow, logits);
  const head = findHead(flow, trunk);
  const sublayers = findSublayers(flow, trunk.segments).filter(
    // Behind the head there is nothing of a block.
    ({ segment }) => !head || segment.after <= head.node,
  );
  const last = sublayers.at(-1);
  const ffn = feedForwardInput(flow, sublayers);
  const attention = attentionInput(flow, sublayers);
  const output = head
    ? { tensor: head.hidden }
    : missing('no product with a weight gives the logits');
  const beforeNorm = (found: Found): Found =>
    found.tensor === undefined ? found : findNormInput(flow, trunk, found.tensor);
  const keys: Record<KeyName, Found> = {
    'ffn-input': ffn,
    'ffn-input-before-norm': beforeNorm(ffn),
    'attention-input': attention,
    'attention-input-before-norm': beforeNorm(attention),
    output,
    'output-before-norm': beforeNorm(output),
  };
  return report(flow, keys, sublayers, last?.hasAttention === true && last.feedForward.length > 0);
}

function obstacleTo(flow: Dataflow, logits: string): string | undefined {
  const maker = flow.producerOf(logits);
  if (maker?.subgraphs.length) {
    return `the whole decoder lies inside a node with graphs of its own (${maker.op}), a merged export`;
  }
  if (flow.root === undefined) return 'no embedding of input_ids was found';
  if (!flow.activations.has(logits)) return 'the logits do not depend on the embedding';
  return undefined;
}

function feedForwardInput(flow: Dataflow, sublayers: Sublayers[]): Found {
  const last = sublayers.at(-1);
  if (!last) return missing('no block with weights was found between embedding and logits');
  if (last.attention.length > 1) {
    return missing('several blocks are connected by more than one residual stream');
  }
  const input = sharedInput(flow, last.feedForward, last.segment);
  if (input) return { tensor: input };
  if (last.feedForward.length > 0) {
    return missing('the products of the last block read different tensors');
  }
  return missing('the last block has attention and no feed-forward network');
}

/** The sublayer that holds the last block's attention: the last one or the one before. */
function attentionInput(flow: Dataflow, sublayers: Sublayers[]): Found {
  const own = sublayers.filter(({ toSource }) => !toSource);
  const holder = own.slice(-2).findLast((sublayer) => sublayer.hasAttention);
  if (!holder) return missing('the last block has no softmax attention');
  if (holder.attention.length > 1) {
    return missing('several blocks are connected by more than one residual stream');
  }
  const input = sharedInput(flow, holder.intoAttention, holder.segment);
  return input ? { tensor: input } : missing('queries, keys and values read different tensors');
}

function report(
  flow: Dataflow,
  found: Record<KeyName, Found>,
  sublayers: Sublayers[],
  parallelResidual: boolean,
): KeyLocations {
  const tensors = KEY_NAMES.map((key) => found[key].tensor).filter((name) => name !== undefined);
  // All six are states of the residual stream or norms of it: one width serves them all.
  const width = tensors.map((name) => flow.widthOf(name)).find((size) => size !== undefined);
  const keys = Object.fromEntries(
    KEY_NAMES.map((key): [KeyName, KeyLocation] => {
      const location = found[key];
      if (location.tensor === undefined) {
        return [key, { ...location, candidates: namedLike(flow, key) }];
      }
      const { tensor } = location;
      const elementType = flow.elementTypeOf(tensor.split(' + ')[0]!);
      return [key, { tensor, elementType, width: flow.widthOf(tensor) ?? width }];
    }),
  ) as Record<KeyName, KeyLocation>;
  const layers = ownAttention(sublayers).length;
  return {
    keys,
    parallelResidual,
    layers,
    warnings: [
      ...disagreements(flow, found, sublayers.at(-1)?.segment.after ?? 0),
      ...layersAgainstCache(flow, layers),
    ],
  };
}

/** Caches of layers that mix tokens otherwise: convolutions, recurrences. */
const OTHER_CACHE = /conv|ssm|recurrent/;

/** As many attention layers as caches, or the trunk was not what it seemed. */
function layersAgainstCache({ graph }: Dataflow, layers: number): string[] {
  const ofAttention = pairCache(graph).pairs.filter(({ input }) => !OTHER_CACHE.test(input.name));
  const cached = new Set(ofAttention.map((pair) => pair.layer)).size;
  if (layers === 0 || cached === 0 || layers === cached) return [];
  return [
    `${layers} attention layers were found by the graph's shape, but it has caches for ${cached}`,
  ];
}
