/**
 * Reads the structure of an ONNX file: nodes, tensors' names and shapes, no weights.
 * Field numbers are those of onnx.proto3. Synchronous, for a worker: about 0.1 s for a model of 10,000 nodes.
 */
import {
  type AttributeValue,
  type Initializer,
  type OnnxGraph,
  type OnnxNode,
  readsOf,
  type ValueInfo,
} from './graph.ts';
import { type Branch, CACHE_SWITCH, graphParts } from './graph-parts.ts';
import { type Field, ProtobufFile } from './protobuf-file.ts';
import { readInitializer, readSparseName, readValueInfo } from './read-tensor.ts';
import { sortNodes } from './sort-nodes.ts';

/** The largest decoders have some 20,000 nodes; far more means that something else is being read as a graph. */
const MAX_ITEMS = 2_000_000;
const MAX_DEPTH = 16;

export interface ReadGraphOptions {
  /** Which of the two decoders of a merged export: the one that reads on from a cache, or the one for a text's start. Default false. */
  cached?: boolean;
}

/** Errors: `MODEL_NOT_FOUND` without a file, `MODEL_INVALID` when it is cut short, corrupt or not ONNX at all. */
export function readGraph(path: string, { cached = false }: ReadGraphOptions = {}): OnnxGraph {
  const file = new ProtobufFile(path);
  try {
    refuseOtherFormats(file);
    const whole = readModel(file, undefined);
    if (!isMerged(whole)) return whole;
    return withoutUnreadInputs(readModel(file, cached ? 'then_branch' : 'else_branch'));
  } finally {
    file.close();
  }
}

/** Names the commonest mistakes before the parser can only say "malformed". */
function refuseOtherFormats(file: ProtobufFile): void {
  if (file.size === 0) throw file.invalid('it is empty');
  const head = file.bytes(0, Math.min(file.size, 40)).toString('latin1');
  if (head.startsWith('version https://git-lfs'))
    throw file.invalid('it is a Git LFS pointer, not the file itself (run: git lfs pull)');
  if (head.startsWith('GGUF')) throw file.invalid('it is a GGUF file, another format');
  if (/^\s*[<{]/.test(head)) throw file.invalid('it is text (HTML or JSON)');
}

interface RawGraph {
  nodes: OnnxNode[];
  initializers: Map<string, Initializer>;
  inputs: ValueInfo[];
  outputs: ValueInfo[];
  valueInfo: Map<string, ValueInfo>;
}

/** All outputs come from one `If` that `use_cache_branch` decides, and both its branches give them under the same names. */
function isMerged({ nodes, outputs }: OnnxGraph): boolean {
  const node = nodes.find(({ op, inputs }) => op === 'If' && inputs[0] === CACHE_SWITCH);
  return (
    node !== undefined &&
    outputs.every(({ name }) => node.outputs.includes(name)) &&
    node.subgraphOutputs.every((names) => outputs.every(({ name }) => names.includes(name)))
  );
}

/** The cache and its switch mean nothing to the decoder of a text's start. */
function withoutUnreadInputs(graph: OnnxGraph): OnnxGraph {
  const read = new Set(graph.outputs.map((output) => output.name));
  for (const node of graph.nodes) for (const name of readsOf(node)) read.add(name);
  return { ...graph, inputs: graph.inputs.filter((input) => read.has(input.name)) };
}

function readModel(file: ProtobufFile, branch: Branch | undefined): OnnxGraph {
  const raw = emptyGraph();
  const opsets = new Map<string, number>();
  const model = { irVersion: 0, producer: '', producerVersion: '' };
  for (const field of file.fields(0, file.size)) {
    if (field.number === 1) model.irVersion = field.value;
    else if (field.number === 2) model.producer = file.string(field);
    else if (field.number === 3) model.producerVersion = file.string(field);
    else if (field.number === 8) readOpset(file, field, opsets);
  }
  readParts(file, graphParts(file, branch), raw);
  if (raw.nodes.length === 0 || raw.outputs.length === 0) {
    throw file.invalid('it holds no graph with nodes and outputs');
  }
  if (opsets.size === 0) throw file.invalid('it names no operator set (cut short?)');
  const inputs = raw.inputs.filter((input) => !raw.initializers.has(input.name));
  for (const value of [...raw.inputs, ...raw.outputs]) raw.valueInfo.set(value.name, value);
  const externalFiles = new Set<string>();
  for (const { external } of raw.initializers.values()) {
    if (external) externalFiles.add(external.location);
  }
  return {
    path: file.path,
    fileBytes: file.size,
    ...model,
    opsets,
    nodes: sortNodes(raw.nodes, new Set([...raw.initializers.keys(), ...names(inputs)]), file),
    initializers: raw.initializers,
    inputs,
    outputs: raw.outputs,
    valueInfo: raw.valueInfo,
    externalFiles: [...externalFiles],
    branch,
  };
}

const emptyGraph = (): RawGraph => ({
  nodes: [],
  initializers: new Map(),
  inputs: [],
  outputs: [],
  valueInfo: new Map(),
});

const names = (values: ValueInfo[]): string[] => values.map((value) => value.name);

function readOpset(file: ProtobufFile, opset: Field, opsets: Map<string, number>): void {
  let domain = '';
  let version = 0;
  for (const field of file.message(opset)) {
    if (field.number === 1) domain = file.string(field);
    else if (field.number === 2) version = field.value;
  }
  opsets.set(domain === 'ai.onnx' ? '' : domain, version);
}

function readParts(file: ProtobufFile, parts: Iterable<Field>, raw: RawGraph, depth = 0): void {
  if (depth > MAX_DEPTH) throw file.invalid('its graphs are nested too deeply');
  let items = 0;
  for (const field of parts) {
    if (++items > MAX_ITEMS) throw file.invalid(`its graph has over ${MAX_ITEMS} parts`);
    if (field.number === 1) raw.nodes.push(readNode(file, field, raw.nodes.length, depth));
    else if (field.number === 5) {
      const tensor = readInitializer(file, field);
      raw.initializers.set(tensor.name, tensor);
    } else if (field.number === 11) raw.inputs.push(readValueInfo(file, field));
    else if (field.number === 12) raw.outputs.push(readValueInfo(file, field));
    else if (field.number === 13) {
      const value = readValueInfo(file, field);
      raw.valueInfo.set(value.name, value);
    } else if (field.number === 15) {
      const tensor = readSparseName(file, field);
      raw.initializers.set(tensor.name, tensor);
    }
  }
}

function readNode(file: ProtobufFile, field: Field, position: number, depth: number): OnnxNode {
  const node: OnnxNode = {
    position,
    name: '',
    op: '',
    domain: '',
    inputs: [],
    outputs: [],
    attributes: new Map(),
    subgraphs: [],
    subgraphOutputs: [],
    captures: [],
  };
  for (const part of file.message(field)) {
    if (part.number === 1) node.inputs.push(file.string(part));
    else if (part.number === 2) node.outputs.push(file.string(part));
    else if (part.number === 3) node.name = file.string(part);
    else if (part.number === 4) node.op = file.string(part);
    else if (part.number === 5) readAttribute(file, part, node, depth);
    else if (part.number === 7) node.domain = file.string(part);
  }
  if (!node.op) throw file.invalid(`the node at byte ${field.from} has no operator`);
  return node;
}

function readAttribute(file: ProtobufFile, attribute: Field, node: OnnxNode, depth: number): void {
  let name = '';
  let value: AttributeValue | undefined;
  const integers: number[] = [];
  for (const part of file.message(attribute)) {
    if (part.number === 1) name = file.string(part);
    else if (part.number === 2 && part.wire === 5) value = file.bytes(part.start, 4).readFloatLE();
    else if (part.number === 3 && part.wire === 0) value = part.value;
    else if (part.number === 4 && part.end - part.start < 1 << 12) value = file.string(part);
    else if (part.number === 5) value = readInitializer(file, part);
    else if (part.number === 8) file.integers(part, integers);
    else if (part.number === 6 || part.number === 11) {
      node.subgraphs.push(name);
      const { captures, outputs } = readSubgraph(file, part, depth + 1);
      node.captures.push(...captures);
      node.subgraphOutputs.push(outputs);
    }
  }
  if (integers.length > 0) value = integers;
  if (value !== undefined) node.attributes.set(name, value);
}

/** The names an inner graph reads and does not make itself, and those of its outputs. */
function readSubgraph(
  file: ProtobufFile,
  graph: Field,
  depth: number,
): { captures: Set<string>; outputs: string[] } {
  const inner = emptyGraph();
  readParts(file, file.message(graph), inner, depth);
  const own = new Set([...inner.initializers.keys(), ...names(inner.inputs)]);
  for (const node of inner.nodes) for (const output of node.outputs) own.add(output);
  const captures = new Set<string>();
  const note = (name: string): void => {
    if (name && !own.has(name)) captures.add(name);
  };
  for (const node of inner.nodes) for (const name of [...node.inputs, ...node.captures]) note(name);
  for (const output of inner.outputs) note(output.name);
  return { captures, outputs: names(inner.outputs) };
}
