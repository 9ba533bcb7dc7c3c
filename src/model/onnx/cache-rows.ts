/**
 * What one step adds to the attention cache: `present = Concat(past, added)` along the positions, in every export but those whose
 * attention is one fused node. Read off alone, the added row is all of the cache that has to leave the graph.
 */
import type { ElementType } from './element-types.ts';
import { intAttribute, type OnnxGraph, type OnnxNode } from './graph.ts';
import type { CachePair } from './kv-cache-tensors.ts';

export interface CacheRows {
  /** The cache's input. */
  input: string;
  elementType: ElementType;
  /** The tensor with the new positions alone, of another float type where the cache is cast. */
  added: string;
  /** Both together. */
  joined: string;
  /** The axis of positions; 0 is the batch. */
  axis: number;
}

/** One for each pair, in their order; undefined where a cache is made in another way, or there is none. */
export function findCacheRows(
  graph: OnnxGraph,
  cache: readonly CachePair[],
): CacheRows[] | undefined {
  const producers = new Map<string, OnnxNode>();
  for (const node of graph.nodes) for (const output of node.outputs) producers.set(output, node);
  const rows: CacheRows[] = [];
  for (const { input, output } of cache) {
    let node = producers.get(output);
    if (node?.op === 'Cast') node = producers.get(node.inputs[0]!);
    const { shape, elementType } = input;
    if (node?.op !== 'Concat' || node.inputs.length !== 2 || node.inputs[0] !== input.name) {
      return undefined;
    }
    const axis = intAttribute(node, 'axis', 0);
    if (!shape || !(elementType === 'float32' || elementType === 'float16')) return undefined;
    rows.push({
      input: input.name,
      elementType,
      added: node.inputs[1]!,
      joined: node.outputs[0]!,
      axis: axis < 0 ? axis + shape.length : axis,
    });
  }
  return rows.length > 0 ? rows : undefined;
}
