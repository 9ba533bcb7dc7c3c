/** What rewrites a part of a graph. */
import type { ValueInfo } from './graph.ts';

/** Nodes that take the place of others. */
export interface Replacement {
  /** `OnnxNode.position` of those that go. */
  removed: ReadonlySet<number>;
  /** GraphProto fields. */
  added: Uint8Array[];
  /** Tensors of the graph that they read. */
  reads: string[];
  /** New inputs of the graph, which are among what is added. */
  inputs?: ValueInfo[];
}
