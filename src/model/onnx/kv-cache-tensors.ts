/** Which inputs carry the attention cache in, and which outputs carry it out. */
import type { OnnxGraph, ValueInfo } from './graph.ts';

export interface CachePair {
  /** past_key_values.N.key and the like: (batch, heads, past, head width). */
  input: ValueInfo;
  /** present.N.key: the same with the new positions added. */
  output: string;
  /** N */
  layer: number;
}

const PAST = /^past(?:_key_values|_key|_value|_conv|_ssm|_recurrent)?[._]/;

/** Pairs by name: an output is named as its input with `past…` read as `present…`. */
export function pairCache(graph: OnnxGraph): { pairs: CachePair[]; unpaired: ValueInfo[] } {
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const pairs: CachePair[] = [];
  const unpaired: ValueInfo[] = [];
  for (const input of graph.inputs) {
    if (!PAST.test(input.name)) continue;
    const output = [
      input.name.replace('past_key_values', 'present'),
      input.name.replace('past', 'present'),
    ].find((name) => outputs.has(name));
    const layer = Number(/\d+/.exec(input.name)?.[0] ?? Number.NaN);
    if (output && Number.isInteger(layer)) pairs.push({ input, output, layer });
    else unpaired.push(input);
  }
  return { pairs, unpaired };
}
