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
import type { OnnxGraph } from './onnx/graph.ts';
import { type KeyLocation, locateKeys } from './onnx/locate-keys.ts';
import { readGraph } from './onnx/read-graph.ts';

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
  /** Bytes of the graph file and its external data. */
  bytes: number;
  externalFiles: readonly string[];
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
  /** `RuntimePlan.onwardKeyTensor` */
  onwardKeyTensor: string | undefined;
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
    const { inspected, graph } = inspectGraph(request.folder, candidate);
    graphs.push(inspected);
    const broken = graph === undefined && chosen === undefined && request.dtype === undefined;
    if (broken && !request.describeAll) break;
    if (graph === undefined || chosen !== undefined || inspected.problems.length > 0) continue;
    if (request.dtype === undefined || inspected.dtype === request.dtype) {
      chosen = chooseGraph(request, inspected, graph);
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

function inspectGraph(
  folder: string,
  { file, dtype }: GraphFile,
): { inspected: InspectedGraph; graph: OnnxGraph | undefined } {
  try {
    const graph = readGraph(join(folder, file));
    const description = describeGraph(graph);
    const { externalFiles } = graph;
    const { dtype: found, problems } = description;
    const bytes = graph.fileBytes + sizeOf(dirname(graph.path), externalFiles, problems);
    return { inspected: { file, dtype: found, problems, bytes, externalFiles }, graph };
  } catch (error) {
    if (!(error instanceof KnnLMError)) throw error;
    const inspected = { file, dtype, problems: [error.message], bytes: 0, externalFiles: [] };
    return { inspected, graph: undefined };
  }
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
  inspected: InspectedGraph,
  graph: OnnxGraph,
): ChosenGraph {
  const description = describeGraph(graph);
  const located = locateKeys(graph);
  const keyTensor = request.keyTensor ?? located.keys[request.key].tensor;
  const known = Object.values(located.keys).find((key) => key.tensor === keyTensor);
  if (request.keyTensor !== undefined && known === undefined) {
    requireTensor(graph, request.keyTensor, located.keys);
  }
  const folder = dirname(graph.path);
  const onward = graph.branch && readGraph(graph.path, { cached: true });
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
    onwardKeyTensor:
      onward && (request.keyTensor ?? locateKeys(onward).keys[request.key].tensor ?? keyTensor),
    keyDim: widthOf(
      graph,
      keyTensor,
      known?.tensor ? (known.width ?? description.hiddenWidth) : undefined,
    ),
    warnings: located.warnings,
    weights: weightsFingerprint([
      graph.path,
      ...graph.externalFiles.map((file) => join(folder, file)),
    ]),
  };
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
