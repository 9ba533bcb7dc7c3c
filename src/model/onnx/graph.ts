/** What the rest of `model/onnx/` knows of an ONNX file: its structure, without its weights. */
import type { ElementType } from './element-types.ts';
import type { Branch } from './graph-parts.ts';

export interface ValueInfo {
  name: string;
  elementType: ElementType | undefined;
  /** Sizes, or names of free sizes ('' where neither is given); undefined when the file does not say. */
  shape: (number | string)[] | undefined;
}

export interface Initializer {
  name: string;
  dims: number[];
  elementType: ElementType | undefined;
  /** Bytes of the tensor's data, inside the file or beside it. */
  bytes: number;
  /** Where the data lies when it is not in the graph file. */
  external: { location: string; offset: number; length: number | undefined } | undefined;
  /** The numbers themselves, for tensors of at most 16 elements: axes, slice ends, scalar factors. */
  values: number[] | undefined;
}

/** `Initializer` for a tensor attribute (the value of a Constant node). */
export type AttributeValue = number | string | number[] | Initializer;

export interface OnnxNode {
  /** Place among the graph's nodes in the file; `OnnxGraph.nodes` itself is in an order that can be computed. */
  position: number;
  name: string;
  op: string;
  /** '' is ONNX's own domain. */
  domain: string;
  /** Tensor names; '' stands for an optional one left out. */
  inputs: string[];
  outputs: string[];
  attributes: Map<string, AttributeValue>;
  /** Names of attributes that hold graphs: then_branch, body, … */
  subgraphs: string[];
  /** Names of the outputs of each of those graphs. */
  subgraphOutputs: string[][];
  /** Tensors of this graph that those inner graphs may read. */
  captures: string[];
}

export interface OnnxGraph {
  path: string;
  fileBytes: number;
  irVersion: number;
  producer: string;
  producerVersion: string;
  /** Version of each operator set; '' is ONNX's own. */
  opsets: ReadonlyMap<string, number>;
  /** In an order in which every node comes after those it reads. */
  nodes: readonly OnnxNode[];
  initializers: ReadonlyMap<string, Initializer>;
  /** What must be fed: without the inputs that have an initializer as default. */
  inputs: readonly ValueInfo[];
  outputs: readonly ValueInfo[];
  /** Every tensor whose type or shape the file states, inputs and outputs too. */
  valueInfo: ReadonlyMap<string, ValueInfo>;
  /** Files with weights, relative to the graph's folder. */
  externalFiles: readonly string[];
  /** Of a merged export: the branch of its `If` that this is. */
  branch: Branch | undefined;
}

/** Every tensor a node reads, those of its inner graphs included. */
export function* readsOf(node: OnnxNode): Generator<string, void, undefined> {
  for (const name of node.inputs) if (name) yield name;
  yield* node.captures;
}

/** A number attribute, or `fallback` when it is left out. */
export function intAttribute(node: OnnxNode, name: string, fallback: number): number {
  const value = node.attributes.get(name);
  return typeof value === 'number' ? value : fallback;
}
