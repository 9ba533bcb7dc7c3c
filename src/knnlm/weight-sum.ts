/** The mass of a whole vocabulary under a sampling temperature, by the kernel of `kernels/weights.private.ts`. */
import { readFileSync } from 'node:fs';
import { instantiate } from '../indexes/kernels.ts';

/** Scores that are summed at a time. */
const AT_ONCE = 4096;

interface Kernels {
  sumOfWeights(scores: number, count: number, most: number, scale: number): number;
}

let opened: { kernels: Kernels; scores: Float32Array } | undefined;

/** On first use: a thread that never samples needs none. */
function open(): NonNullable<typeof opened> {
  const bytes = readFileSync(new URL('../indexes/kernels/weights.private.wasm', import.meta.url));
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 65_536 });
  const kernels = instantiate(new WebAssembly.Module(bytes), memory) as Kernels;
  const start = memory.buffer.byteLength - 4 * AT_ONCE;
  const scores = new Float32Array(memory.buffer, start, AT_ONCE);
  return { kernels, scores };
}

/**
 * Σ e^((score - most) / temperature) to a relative error of 3·10⁻⁷.
 * @param scores (V) @param most the largest of them
 */
export function weightSum(scores: Float32Array, most: number, temperature: number): number {
  opened ??= open();
  const { kernels, scores: part } = opened;
  const scale = Math.min(1 / temperature, 3e38);
  let sum = 0;
  for (let start = 0; start < scores.length; start += AT_ONCE) {
    const own = scores.subarray(start, start + AT_ONCE);
    const count = Math.ceil(own.length / 4) * 4;
    part.set(own);
    part.fill(Number.NEGATIVE_INFINITY, own.length, count);
    sum += kernels.sumOfWeights(part.byteOffset, count, most, scale);
  }
  return sum;
}
