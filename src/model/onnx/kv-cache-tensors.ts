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

/** The cache of an encoder-decoder's attention to its source: made once from the source, never added to. */
export interface CrossTensor {
  /** past_key_values.N.encoder.key */
  input: ValueInfo;
  /** present.N.encoder.key, of the graph that begins a text. */
  output: string;
}

const CROSS = /[._]encoder[._]/;
const PAST = /^past(?:_key_values|_key|_value|_conv|_ssm|_recurrent)?[._]/;

/** Pairs by name: an output is named as its input with `past…` read as `present…`. */
export function pairCache(graph: OnnxGraph): {
  pairs: CachePair[];
  cross: CrossTensor[];
  unpaired: ValueInfo[];
} {
  const outputs = new Set(graph.outputs.map((output) => output.name));
  const pairs: CachePair[] = [];
  const cross: CrossTensor[] = [];
  const unpaired: ValueInfo[] = [];
  for (const input of graph.inputs) {
    if (!PAST.test(input.name)) continue;
    const names = [
      input.name.replace('past_key_values', 'present'),
      input.name.replace('past', 'present'),
    ];
    if (CROSS.test(input.name)) {
      cross.push({ input, output: names[0]! });
      continue;
    }
    const output = names.find((name) => outputs.has(name));
    const layer = Number(/\d+/.exec(input.name)?.[0] ?? Number.NaN);
    if (output && Number.isInteger(layer)) pairs.push({ input, output, layer });
    else unpaired.push(input);
  }
  return { pairs, cross, unpaired };
}
