/**
 * What the names say. Exporters keep module paths in tensor names (`/model/layers.4/post_attention_layernorm/Mul_1_output_0`),
 * so a located key can be held against the module it should come from, and a key not located gets candidates.
 */
import type { KeyName } from '../language-model.ts';
import type { Dataflow } from './dataflow.ts';

/** Modules whose output is the key, most specific first: a Gemma block has the first and the second. */
const modules: Partial<Record<KeyName, string[]>> = {
  'ffn-input': [
    'pre_feedforward_layernorm',
    'pre_mlp_layernorm',
    'ffn_norm',
    'post_attention_layernorm',
    'ln_2',
    'ln_mlp',
    'norm_2',
    'final_layer_norm',
  ],
  'attention-input': [
    'input_layernorm',
    'ln_1',
    'ln_attn',
    'norm_1',
    'self_attn_layer_norm',
    'attention_norm',
  ],
  output: ['norm', 'ln_f', 'final_layer_norm', 'final_layernorm', 'final_norm', 'norm_f'],
};

const BLOCK = /(?:^|\/)(?:layers?|h|blocks?)\.(\d+)\/([^/]+)\/[^/]*$/;

/** Tensors whose names suggest the key, best guess first. */
export function namedLike(flow: Dataflow, key: KeyName): string[] {
  const rule = modules[key.replace('-before-norm', '') as KeyName]!;
  const byModule = key.startsWith('output') ? modelLevel(flow) : lastBlock(flow);
  return rule
    .map((module) => byModule.get(module)?.at(-1))
    .filter((tensor) => tensor !== undefined)
    .slice(0, 3);
}

/** Tensors made by direct children of the last block that has any, by child's name, in graph order. */
function lastBlock(flow: Dataflow): Map<string, string[]> {
  let block = -1;
  let found = new Map<string, string[]>();
  for (const tensor of flow.activations) {
    const match = BLOCK.exec(tensor);
    if (!match) continue;
    const index = Number(match[1]);
    if (index < block) continue;
    if (index > block) found = new Map();
    block = index;
    addTo(found, match[2]!, tensor);
  }
  return found;
}

/** Tensors made by modules outside all blocks. */
function modelLevel(flow: Dataflow): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const tensor of flow.activations) {
    const path = tensor.split('/');
    if (path.length >= 2 && !/\.\d+\//.test(tensor)) addTo(found, path.at(-2)!, tensor);
  }
  return found;
}

function addTo(map: Map<string, string[]>, key: string, value: string): void {
  const list = map.get(key);
  if (list) list.push(value);
  else map.set(key, [value]);
}

/**
 * One line for each key that lies elsewhere than its name suggests.
 * @param end the node that ends the last block
 */
export function disagreements(
  flow: Dataflow,
  found: Record<KeyName, { tensor: string | undefined }>,
  end: number,
): string[] {
  const block = lastBlock(flow);
  // OLMo 2 norms what the sublayers give, not what they take: its post_attention_layernorm is no input.
  // OPT 350m has the usual names for norms behind the sublayers: what the block makes last is no input of its own.
  const [ffnNorm] = namedLike(flow, 'ffn-input');
  const normsOutputs =
    (block.has('post_feedforward_layernorm') && !block.has('pre_feedforward_layernorm')) ||
    (ffnNorm !== undefined && flow.producer.get(ffnNorm)! >= end);
  const lines: string[] = [];
  for (const key of Object.keys(modules) as KeyName[]) {
    const tensor = found[key].tensor;
    const [expected] = namedLike(flow, key);
    if (!tensor || !expected || (normsOutputs && key !== 'output')) continue;
    // Optimizers rename within a module; the module is what counts.
    if (folderOf(tensor) === folderOf(expected) || !tensor.includes('/')) continue;
    lines.push(`${key} is ${tensor} by the graph's shape; by its name it would be ${expected}`);
  }
  return lines;
}

const folderOf = (tensor: string): string => tensor.slice(0, tensor.lastIndexOf('/') + 1);
