/**
 * Looking at the graphs of a model folder: which can be used, which tensor is the key, and the weights' fingerprint.
 * Synchronous file reading, some 100 ms for the graph of a large model: runs in a worker.
 */
import { statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { weightsFingerprint } from './fingerprint.ts';
import type { KeyName, ModelDtype } from './language-model.ts';
import type { GraphFile } from './model-files.ts';
import { describeGraph } from './onnx/describe-graph.ts';
import { dynamicInt8Operator } from './onnx/dtype.ts';
import type { OnnxGraph } from './onnx/graph.ts';
import { type KeyLocation, locateKeys } from './onnx/locate-keys.ts';
import { readGraph } from './onnx/read-graph.ts';
import { statesOutput } from './source-encoder.ts';
import type { RuntimePlan } from './worker-protocol.ts';

export interface InspectRequest {
  folder: string;
  graphs: readonly GraphFile[];
  dtype: ModelDtype | undefined;
  key: KeyName;
  /** A tensor of the user's own instead of `key`. */
  keyTensor: string | undefined;
  /** True: look at every graph and throw for none. False: throw unless one can be used. */
  describeAll: boolean;
}

/** One graph of the folder, as `knnlm model` prints it. */
export interface InspectedGraph {
  file: string;
  dtype: ModelDtype;
  /** Why it cannot be used; empty when it can. */
  problems: string[];
  /** Bytes of the graph file and its external data, those of an encoder among them. */
  bytes: number;
  externalFiles: readonly string[];
  /** Of an encoder-decoder's decoder: the encoder that gives it its sources. */
  encoder?: string;
}

export interface ChosenGraph extends InspectedGraph {
  layers: number;
  vocabSize: number | undefined;
  hiddenWidth: number | undefined;
  logitsTensor: string;
  lastPositionOnly: boolean;
  hasCache: boolean;
  keys: Record<KeyName, KeyLocation>;
  keyTensor: string | undefined;
  onward: RuntimePlan['onward'];
  encoderPath: string | undefined;
  /** Undefined for a tensor of the user's own whose width the file does not state. */
  keyDim: number | undefined;
  warnings: string[];
  /** sha256, see `fingerprint.ts`. */
  weights: string;
}

export interface Inspection {
  graphs: InspectedGraph[];
  /** The graph that will run; undefined when none can. */
  chosen: ChosenGraph | undefined;
}

/**
 * Takes the first graph that can be used. A graph of a kind that cannot be used is passed over, a broken file is not:
 * whoever downloaded half a model wants to know, not to run another precision unawares.
 */
export function inspectModel(request: InspectRequest): Inspection {
  const candidates = candidatesFor(request);
  const graphs: InspectedGraph[] = [];
  let chosen: ChosenGraph | undefined;
  for (const candidate of candidates) {
    if (chosen !== undefined && !request.describeAll) break;
    const found = inspectGraph(request.folder, candidate);
    const { inspected, graph } = found;
    graphs.push(inspected);
    const broken = graph === undefined && chosen === undefined && request.dtype === undefined;
    if (broken && !request.describeAll) break;
    if (graph === undefined || chosen !== undefined || inspected.problems.length > 0) continue;
    if (request.dtype === undefined || inspected.dtype === request.dtype) {
      chosen = chooseGraph(request, { ...found, graph });
    }
  }
  if (chosen === undefined && !request.describeAll) throw noUsableGraph(request, graphs);
  return { graphs, chosen };
}

/** With a dtype: graphs that say so by name first, then all others, whose content may still be of it (genai's model.onnx). */
function candidatesFor({ graphs, dtype }: InspectRequest): readonly GraphFile[] {
  if (dtype === undefined) return graphs;
  return [...graphs.filter((g) => g.dtype === dtype), ...graphs.filter((g) => g.dtype !== dtype)];
}

interface FoundGraph {
  inspected: InspectedGraph;
  graph: OnnxGraph | undefined;
  /** Of an encoder-decoder. */
  encoder?: OnnxGraph | undefined;
  /** A file of its own for reading on. */
  onward?: OnnxGraph | undefined;
}

function inspectGraph(folder: string, { file, dtype, encoder, onward }: GraphFile): FoundGraph {
  try {
    const graph = readGraph(join(folder, file));
    const description = describeGraph(graph);
    const { externalFiles } = graph;
    const { dtype: found, problems, sourceStates } = description;
    const bytes = graph.fileBytes + sizeOf(dirname(graph.path), externalFiles, problems);
    const inspected: InspectedGraph = { file, dtype: found, problems, bytes, externalFiles };
    return {
      inspected,
      graph,
      encoder: sourceStates === undefined ? undefined : openEncoder(folder, encoder, inspected),
      onward: onward === undefined ? undefined : openOnward(join(folder, onward)),
    };
  } catch (error) {
    if (!(error instanceof KnnLMError)) throw error;
    const inspected = { file, dtype, problems: [error.message], bytes: 0, externalFiles: [] };
    return { inspected, graph: undefined };
  }
}

/** Adds the encoder to what is told of its decoder: where it is, its bytes, its problems. Errors: those of `readGraph`, `statesOutput`. */
function openEncoder(
  folder: string,
  file: string | undefined,
  inspected: InspectedGraph,
): OnnxGraph | undefined {
  if (file === undefined) {
    const name = inspected.file.replace(/decoder_model(_merged)?/, 'encoder_model');
    inspected.problems.push(
      `Its encoder ${name} is missing. Download that file into the same folder.`,
    );
    return undefined;
  }
  const encoder = readGraph(join(folder, file));
  statesOutput(encoder);
  const operator = dynamicInt8Operator(encoder);
  if (operator !== undefined) {
    inspected.problems.push(
      `Its encoder ${file} quantizes activations while running (${operator}), with one scale for all sources, so each would change the others. Use fp32, fp16, q4 or q4f16.`,
    );
  }
  inspected.encoder = file;
  inspected.bytes += encoder.fileBytes;
  inspected.bytes += sizeOf(dirname(encoder.path), encoder.externalFiles, inspected.problems);
  return encoder;
}

/** Undefined when it cannot be used: then every text is read from its start. */
function openOnward(path: string): OnnxGraph | undefined {
  const graph = readGraph(path);
  const { problems, cache } = describeGraph(graph);
  sizeOf(dirname(path), graph.externalFiles, problems);
  return problems.length === 0 && cache.length > 0 ? graph : undefined;
}

/** Bytes of the external data; a file that is not there is one more problem. */
function sizeOf(folder: string, files: readonly string[], problems: string[]): number {
  let bytes = 0;
  for (const file of files) {
    const found = statSync(join(folder, file), { throwIfNoEntry: false });
    bytes += found?.size ?? 0;
    if (found === undefined) {
      problems.push(`Its weights in ${file} are missing. Download that file into the same folder.`);
    }
  }
  return bytes;
}

function chooseGraph(
  request: InspectRequest,
  { inspected, graph, encoder, onward: second }: FoundGraph & { graph: OnnxGraph },
): ChosenGraph {
  const description = describeGraph(graph);
  const located = locateKeys(graph);
  const keyTensor = request.keyTensor ?? located.keys[request.key].tensor;
  const known = Object.values(located.keys).find((key) => key.tensor === keyTensor);
  if (request.keyTensor !== undefined && known === undefined) {
    requireTensor(graph, request.keyTensor, located.keys);
  }
  const onward = graph.branch ? readGraph(graph.path, { cached: true }) : second;
  const files = [graph, ...(encoder ? [encoder] : [])].flatMap(({ path, externalFiles }) => [
    path,
    ...externalFiles.map((file) => join(dirname(path), file)),
  ]);
  return {
    ...inspected,
    layers: description.layers,
    vocabSize: description.logits.vocabSize,
    hiddenWidth: description.hiddenWidth,
    logitsTensor: description.logits.name,
    lastPositionOnly: description.lastPositionOnly,
    hasCache: (onward ? describeGraph(onward) : description).cache.length > 0,
    keys: located.keys,
    keyTensor,
    onward: onward && onwardOf(onward, request, keyTensor),
    encoderPath: encoder?.path,
    keyDim: widthOf(
      graph,
      keyTensor,
      known?.tensor ? (known.width ?? description.hiddenWidth) : undefined,
    ),
    warnings: located.warnings,
    weights: weightsFingerprint(files),
  };
}

function onwardOf(
  graph: OnnxGraph,
  { key, keyTensor }: InspectRequest,
  fallback: string | undefined,
): RuntimePlan['onward'] {
  const tensor = keyTensor ?? locateKeys(graph).keys[key].tensor ?? fallback;
  // Without a key of its own the first decoder has none either, and the model is refused.
  return tensor === undefined
    ? undefined
    : { path: graph.path, cached: graph.branch !== undefined, keyTensor: tensor };
}

/** Width of the key: as located, else as the file states it for a tensor of the user's own, which it seldom does. */
function widthOf(
  graph: OnnxGraph,
  tensor: string | undefined,
  located: number | undefined,
): number | undefined {
  const stated = tensor === undefined ? undefined : graph.valueInfo.get(tensor)?.shape?.at(-1);
  return located ?? (typeof stated === 'number' ? stated : undefined);
}

function requireTensor(graph: OnnxGraph, tensor: string, keys: ChosenGraph['keys']): void {
  if (graph.nodes.some((node) => node.outputs.includes(tensor))) return;
  const examples = Object.values(keys).flatMap((key) => key.tensor ?? key.candidates);
  throw new KnnLMError(
    'MODEL_INVALID',
    `The graph ${graph.path} has no tensor ${JSON.stringify(tensor)}. Tensors that serve as keys: ${examples.slice(0, 6).join(', ')}.`,
  );
}

function noUsableGraph(request: InspectRequest, graphs: readonly InspectedGraph[]): KnnLMError {
  const { folder, dtype } = request;
  const usable = graphs.filter((graph) => graph.problems.length === 0);
  const ofDtype = graphs.find((graph) => graph.dtype === dtype);
  if (dtype !== undefined && ofDtype === undefined) {
    const offered = [...new Set(usable.map((graph) => graph.dtype))].join(', ') || 'none';
    return new KnnLMError(
      'MODEL_UNSUPPORTED',
      `${folder} has no ${dtype} graph. Usable dtypes there: ${offered}.`,
    );
  }
  const refused = ofDtype ?? graphs[0]!;
  return new KnnLMError(
    'MODEL_UNSUPPORTED',
    `${join(folder, refused.file)} cannot be used: ${refused.problems.join(' ')}`,
  );
}
