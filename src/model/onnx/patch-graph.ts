/**
 * Changes an ONNX graph without an ONNX library: new outputs, a log-probability head, everything unneeded cut away.
 *
 * onnxruntime only returns what the graph names as its output, and computes whatever leads to an output, fetched or not.
 * So keys are exposed by adding outputs, and building a datastore runs a graph without language-model head.
 * The file's bytes are copied once, into the result, in the ranges that stay; only the graph's length prefix is new.
 */
import { KnnLMError } from '../../errors.ts';
import { type ElementType, elementTypeCode } from './element-types.ts';
import { encodeNode, encodeValueInfo } from './encode-nodes.ts';
import { type OnnxGraph, readsOf, type ValueInfo } from './graph.ts';
import { graphParts } from './graph-parts.ts';
import {
  BEST_OUTPUT,
  encodeLogProbHead,
  LOG_PROB_OUTPUT,
  logProbTargets,
} from './log-prob-head.ts';
import { type Field, ProtobufFile } from './protobuf-file.ts';
import { messageHead } from './protobuf-writer.ts';
import { readInitializer, readSparseName, readValueInfo } from './read-tensor.ts';
import type { Replacement } from './replacement.ts';

/** A tensor to be a new output. */
export interface ExposedTensor {
  /** Its name, or a sum of tensors written `a + b`. */
  tensor: string;
  /** What it is cast to in the graph. Default float32, so that float16 models need no conversion here. */
  type?: ElementType;
  /** Its log-softmax over the last of three axes instead. */
  logSoftmax?: boolean;
}

export interface PatchOptions {
  /** New outputs by name: a tensor, or just its name. */
  expose?: Readonly<Record<string, string | ExposedTensor>>;
  /** The logits tensor: adds the int64 input `knn_targets` and the output `knn_log_probs`, both (batch, sequence). */
  logProbsOf?: string;
  /**
   * The graph's own outputs to keep. Default all, and nothing is cut. When given, `[]` too, the nodes, weights and inputs
   * that neither these nor the new outputs need are left out.
   */
  keepOutputs?: readonly string[];
  /** Nodes in the place of others; needs `keepOutputs`, and none of them may need what is gone. */
  replacement?: Replacement | undefined;
}

export interface PatchedGraph {
  /** The whole graph file, in an ArrayBuffer of its own: transferable, and what `InferenceSession.create` takes. */
  bytes: Uint8Array<ArrayBuffer>;
  /** Exactly what must be fed. */
  inputs: ValueInfo[];
  /** The kept outputs, then the new ones. */
  outputs: string[];
  /** Weight files still in use. Sessions from memory look for them where `model_external_initializers_file_folder_path` says. */
  externalFiles: string[];
}

/** Protobuf's own limit, and onnxruntime's. */
const MAX_PROTOBUF_BYTES = 2 ** 31 - 1;

/** A stretch of the file that stays, or new bytes. */
type Piece = { from: number; to: number } | Uint8Array;

/** Errors: `MODEL_UNSUPPORTED` when the result would pass 2 GiB, `INVALID_ARGUMENT` for a tensor the graph does not have. */
export function patchGraph(graph: OnnxGraph, options: PatchOptions): PatchedGraph {
  const { expose = {}, logProbsOf, keepOutputs } = options;
  const exposed = checkNames(graph, options);
  const terms = [...exposed.values()].flatMap((output) => output.terms);
  const wanted = [...terms, ...(logProbsOf ? [logProbsOf] : [])];
  const outputs = keepOutputs ?? graph.outputs.map((output) => output.name);
  const cut = keepOutputs !== undefined || graph.branch !== undefined;
  const needed = cut ? neededFor(graph, [...wanted, ...outputs], options.replacement) : undefined;
  const added = [...exposed].flatMap(([name, output]) => encodeExposed(name, output));
  if (logProbsOf) added.push(...encodeLogProbHead(graph, logProbsOf));
  if (options.replacement) added.push(...options.replacement.added);

  const file = new ProtobufFile(graph.path);
  try {
    const keep = keepFilter(file, new Set(outputs), needed);
    const body = graphPieces(file, graph.branch, keep, added);
    const bytes = assemble(file, [...modelPieces(file), messageHead(7, lengthOf(body)), ...body]);
    return {
      bytes,
      inputs: [
        ...graph.inputs.filter((input) => !needed || needed.tensors.has(input.name)),
        ...(logProbsOf ? [logProbTargets] : []),
        ...(options.replacement?.inputs ?? []),
      ],
      outputs: [
        ...outputs,
        ...Object.keys(expose),
        ...(logProbsOf ? [LOG_PROB_OUTPUT, BEST_OUTPUT] : []),
      ],
      externalFiles: externalFilesOf(graph, needed),
    };
  } finally {
    file.close();
  }
}

interface Exposed extends Omit<ExposedTensor, 'tensor'> {
  /** The tensors to add up, nearly always one. */
  terms: string[];
}

/** Checks every name given; returns the new outputs. */
function checkNames(graph: OnnxGraph, options: PatchOptions): Map<string, Exposed> {
  const made = new Set([...graph.inputs.map(({ name }) => name), ...graph.initializers.keys()]);
  for (const node of graph.nodes) for (const output of node.outputs) if (output) made.add(output);
  const refuse = (what: string): never => {
    throw new KnnLMError('INVALID_ARGUMENT', `${graph.path} ${what}.`);
  };
  const termsOf = (tensor: string): string[] => {
    const terms = made.has(tensor) ? [tensor] : tensor.split(' + ');
    return terms.every((term) => made.has(term))
      ? terms
      : refuse(`has no tensor named "${tensor}"`);
  };
  const own = graph.outputs.map((output) => output.name);
  for (const output of options.keepOutputs ?? []) {
    if (!own.includes(output)) refuse(`has no output named "${output}"; it has ${own.join(', ')}`);
  }
  if (options.logProbsOf !== undefined && !made.has(options.logProbsOf)) {
    refuse(`has no tensor named "${options.logProbsOf}"`);
  }
  const exposed = new Map<string, Exposed>();
  for (const [name, output] of Object.entries(options.expose ?? {})) {
    if (!name || made.has(name))
      refuse(`cannot have a new output named "${name}": the name is taken`);
    const { tensor, ...how } = typeof output === 'string' ? { tensor: output } : output;
    exposed.set(name, { ...how, terms: termsOf(tensor) });
  }
  return exposed;
}

interface Needed {
  tensors: Set<string>;
  /** Places of nodes in the file. */
  positions: Set<number>;
}

/** Walks from the given tensors back to the inputs. One pass, since nodes come after those they read. */
function neededFor(graph: OnnxGraph, tensors: string[], replacement?: Replacement): Needed {
  const needed: Needed = {
    tensors: new Set([...tensors, ...(replacement?.reads ?? [])]),
    positions: new Set(),
  };
  for (let i = graph.nodes.length - 1; i >= 0; i--) {
    const node = graph.nodes[i]!;
    if (replacement?.removed.has(node.position)) continue;
    if (!node.outputs.some((output) => needed.tensors.has(output))) continue;
    needed.positions.add(node.position);
    for (const name of readsOf(node)) needed.tensors.add(name);
    // The other outputs of a node that stays keep their type information.
    for (const name of node.outputs) needed.tensors.add(name);
  }
  return needed;
}

function encodeExposed(name: string, output: Exposed): Uint8Array[] {
  const { terms, type = 'float32', logSoftmax = false } = output;
  const [first, ...others] = terms;
  const nodes: Uint8Array[] = [];
  let sum = first!;
  others.forEach((term, i) => {
    const output = `${name}/sum_${i}`;
    nodes.push(encodeNode({ op: 'Add', inputs: [sum, term], output }));
    sum = output;
  });
  const cast = logSoftmax ? `${name}/cast` : name;
  const attributes = { to: elementTypeCode(type) };
  nodes.push(encodeNode({ op: 'Cast', inputs: [sum], output: cast, attributes }));
  if (logSoftmax) {
    const softmax = { op: 'LogSoftmax', inputs: [cast], output: name, attributes: { axis: 2 } };
    nodes.push(encodeNode(softmax));
  }
  return [...nodes, encodeValueInfo(12, name, type)];
}

function externalFilesOf(graph: OnnxGraph, needed: Needed | undefined): string[] {
  const files = new Set<string>();
  for (const [name, { external }] of graph.initializers) {
    if (external && (!needed || needed.tensors.has(name))) files.add(external.location);
  }
  return [...files];
}

/** Says of each field of the graph, in file order, whether it stays. */
function keepFilter(
  file: ProtobufFile,
  outputs: Set<string>,
  needed: Needed | undefined,
): (field: Field) => boolean {
  let position = 0;
  return (field) => {
    if (field.number === 12) return outputs.has(readValueInfo(file, field).name);
    if (!needed) return true;
    if (field.number === 1) return needed.positions.has(position++);
    if (field.number === 5) return needed.tensors.has(readInitializer(file, field).name);
    if (field.number === 15) return needed.tensors.has(readSparseName(file, field).name);
    if (field.number === 11 || field.number === 13) {
      return needed.tensors.has(readValueInfo(file, field).name);
    }
    return true;
  };
}

/** All of the model but its graph. */
function modelPieces(file: ProtobufFile): Piece[] {
  const pieces: Piece[] = [];
  for (const field of file.fields(0, file.size)) if (field.number !== 7) append(pieces, field);
  return pieces;
}

/** What stays of the graph, then what is added. */
function graphPieces(
  file: ProtobufFile,
  branch: OnnxGraph['branch'],
  keep: (field: Field) => boolean,
  added: Uint8Array[],
): Piece[] {
  const pieces: Piece[] = [];
  for (const part of graphParts(file, branch)) if (keep(part)) append(pieces, part);
  return [...pieces, ...added];
}

/** Adds a field's range, lengthening the last range when they touch. */
function append(pieces: Piece[], { from, end }: Field): void {
  const last = pieces.at(-1);
  if (last && !(last instanceof Uint8Array) && last.to === from) last.to = end;
  else pieces.push({ from, to: end });
}

const lengthOf = (pieces: Piece[]): number =>
  pieces.reduce(
    (sum, piece) => sum + (piece instanceof Uint8Array ? piece.length : piece.to - piece.from),
    0,
  );

function assemble(file: ProtobufFile, pieces: Piece[]): Uint8Array<ArrayBuffer> {
  const size = lengthOf(pieces);
  if (size > MAX_PROTOBUF_BYTES) {
    throw new KnnLMError(
      'MODEL_UNSUPPORTED',
      `${file.path} needs ${(size / 2 ** 30).toFixed(1)} GiB in one graph, and protobuf ends at 2 GiB. Use an export with its weights in an .onnx_data file, or a smaller dtype.`,
    );
  }
  const out = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) {
      out.set(piece, at);
      at += piece.length;
    } else {
      file.copy(piece.from, piece.to, out, at);
      at += piece.to - piece.from;
    }
  }
  return out;
}
