/** What a decoder's graph offers: inputs by role, cache, number format, and whatever speaks against using it. */
import type { ModelDtype } from '../language-model.ts';
import { Dataflow } from './dataflow.ts';
import { classifyDtype, dynamicInt8Operator } from './dtype.ts';
import type { OnnxGraph, ValueInfo } from './graph.ts';
import { type CachePair, type CrossTensor, pairCache } from './kv-cache-tensors.ts';
import { findHead, findLogits, logitsToKeepInput } from './logits.ts';
import { findSublayers, ownAttention } from './sublayers.ts';
import { Trunk } from './trunk.ts';

export interface GraphDescription {
  dtype: ModelDtype;
  /** Activations are quantized with one scale a run, so later tokens change earlier keys. */
  dynamicInt8: boolean;
  layers: number;
  /** d, where the graph tells. */
  hiddenWidth: number | undefined;
  logits: ValueInfo & { vocabSize: number | undefined };
  /** Logits come for the last position only: text cannot be scored with this graph. */
  lastPositionOnly: boolean;
  /** int64 scalar: 0 for logits at all positions, n for the last n. */
  logitsToKeepInput: string | undefined;
  cache: CachePair[];
  /** Of the decoder of an encoder-decoder that reads on: what it keeps of the source. */
  cross: CrossTensor[];
  tokens: string | undefined;
  attentionMask: string | undefined;
  positionIds: string | undefined;
  /** Of the decoder of an encoder-decoder: the source's states (batch, S, d), and which of its positions are no padding (batch, S). */
  sourceStates: string | undefined;
  sourceMask: string | undefined;
  /** Inputs with none of these roles. */
  otherInputs: ValueInfo[];
  /** Why the graph cannot be used, one sentence each. Empty when it can. */
  problems: string[];
}

/** Errors: `MODEL_UNSUPPORTED` when the graph has no logits. */
export function describeGraph(graph: OnnxGraph): GraphDescription {
  const logits = findLogits(graph);
  const { pairs, cross, unpaired } = pairCache(graph);
  const has = (name: string): string | undefined =>
    graph.inputs.find((input) => input.name === name)?.name;
  const roles = {
    tokens: has('input_ids'),
    attentionMask: has('attention_mask'),
    positionIds: has('position_ids'),
    sourceStates: has('encoder_hidden_states'),
    sourceMask: has('encoder_attention_mask'),
    logitsToKeepInput: logitsToKeepInput(graph),
  };
  const taken = new Set<string | undefined>([
    ...Object.values(roles),
    ...pairs.map((pair) => pair.input.name),
    ...cross.map((tensor) => tensor.input.name),
    ...unpaired.map((input) => input.name),
  ]);
  const otherInputs = graph.inputs.filter((input) => !taken.has(input.name));
  const flow = new Dataflow(graph);
  const structure = structureOf(flow, logits);
  const unquantized = dynamicInt8Operator(graph);
  const description: GraphDescription = {
    ...roles,
    dtype: classifyDtype(flow),
    dynamicInt8: unquantized !== undefined,
    layers: new Set(pairs.map((pair) => pair.layer)).size || structure.layers,
    hiddenWidth: structure.hiddenWidth,
    logits: { ...logits, vocabSize: structure.vocabSize },
    lastPositionOnly: structure.lastPositionOnly,
    cache: pairs,
    cross,
    otherInputs,
    problems: [],
  };
  description.problems = problemsOf(graph, description, unpaired, unquantized);
  return description;
}

interface Structure {
  layers: number;
  hiddenWidth: number | undefined;
  vocabSize: number | undefined;
  lastPositionOnly: boolean;
}

function structureOf(flow: Dataflow, logits: ValueInfo): Structure {
  const size = logits.shape?.at(-1);
  const vocabSize = typeof size === 'number' && size > 0 ? size : undefined;
  const lastPositionOnly = logits.shape?.length === 3 && logits.shape[1] === 1;
  if (!flow.root || !flow.activations.has(logits.name)) {
    return { layers: 0, hiddenWidth: undefined, vocabSize, lastPositionOnly };
  }
  const trunk = new Trunk(flow, logits.name);
  const head = findHead(flow, trunk);
  return {
    layers: ownAttention(findSublayers(flow, trunk.segments)).length,
    hiddenWidth: head?.width,
    vocabSize: vocabSize ?? head?.vocabSize,
    lastPositionOnly: lastPositionOnly || head?.selection === 'fixed',
  };
}

function problemsOf(
  graph: OnnxGraph,
  { tokens, otherInputs, logits }: GraphDescription,
  unpaired: ValueInfo[],
  unquantized: string | undefined,
): string[] {
  const problems: string[] = [];
  const names = (values: ValueInfo[]): string => values.map((value) => value.name).join(', ');
  const others = otherInputs.filter((input) => input.name !== 'use_cache_branch');
  if (unquantized) {
    problems.push(
      `It quantizes activations while running (${unquantized}), with one scale for all positions, so later tokens change earlier keys. Use fp32, fp16, q4 or q4f16.`,
    );
  }
  if (graph.nodes.some(isEndless)) {
    problems.push('It has a loop without a bound on its rounds, which might never end.');
  }
  if (others.length < otherInputs.length || graph.nodes.some(isMergedDecoder)) {
    problems.push(
      'It is a merged export, two decoders behind one If (use_cache_branch). Use model.onnx or a newer export.',
    );
  }
  if (others.some((input) => input.name.startsWith('decoder_'))) {
    problems.push(
      'It is a whole encoder-decoder in one graph. Export it with encoder_model.onnx and decoder_model.onnx: optimum-cli export onnx --task text2text-generation-with-past',
    );
  } else if (others.length > 0) {
    problems.push(`It wants inputs that are not known here: ${names(others)}.`);
  }
  if (!tokens) problems.push('It has no input named input_ids.');
  if (unpaired.length > 0) {
    problems.push(`Its cache inputs have no matching outputs: ${names(unpaired)}.`);
  }
  if (logits.elementType && !['float32', 'float16'].includes(logits.elementType)) {
    problems.push(`Its logits are ${logits.elementType}; float32 and float16 are supported.`);
  }
  return problems;
}

/** A Loop's first input is its number of rounds; left out, only its condition ends it. */
const isEndless = (node: { op: string; inputs: string[] }): boolean =>
  node.op === 'Loop' && !node.inputs[0];

const isMergedDecoder = (node: { op: string; outputs: string[] }): boolean =>
  node.op === 'If' && node.outputs.includes('logits');
