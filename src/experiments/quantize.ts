/**
 * Keys rounded to a few bits per dimension, as a store that keeps codes would give them back: each dimension's values are
 * cut into 2^b bins of equal count, and a value becomes its bin's mean.
 */
import { Breather } from '../math/breather.ts';

/** Rows whose values place the bins. */
const SAMPLE = 4096;

/** @param keys (n, d) @returns (n, d) what b bits per dimension leave of them */
export async function quantizeKeys(
  keys: Float32Array,
  dim: number,
  bits: number,
): Promise<Float32Array> {
  const breather = new Breather();
  const tables: Bins[] = [];
  for (let column = 0; column < dim; column++) {
    tables.push(binsOf(sampleColumn(keys, dim, column), 2 ** bits));
    await breather.pause();
  }
  const out = new Float32Array(keys.length);
  for (let row = 0; row < keys.length; row += dim) {
    for (let column = 0; column < dim; column++) {
      out[row + column] = nearestMean(tables[column]!, keys[row + column]!);
    }
    await breather.pause();
  }
  return out;
}

interface Bins {
  /** Ascending; bin i lies below bound i. */
  bounds: Float32Array;
  means: Float32Array;
}

function sampleColumn(keys: Float32Array, dim: number, column: number): Float32Array {
  const n = keys.length / dim;
  const count = Math.min(n, SAMPLE);
  return Float32Array.from(
    { length: count },
    (_, i) => keys[Math.floor((i * n) / count) * dim + column]!,
  ).sort();
}

function binsOf(sorted: Float32Array, count: number): Bins {
  const at = (i: number): number => Math.floor((i * sorted.length) / count);
  const means = Float32Array.from({ length: count }, (_, i) => {
    const part = sorted.subarray(at(i), Math.max(at(i) + 1, at(i + 1)));
    return part.reduce((sum, x) => sum + x, 0) / part.length;
  });
  const bounds = Float32Array.from(
    { length: count - 1 },
    (_, i) => (means[i]! + means[i + 1]!) / 2,
  );
  return { bounds, means };
}

function nearestMean({ bounds, means }: Bins, value: number): number {
  let low = 0;
  let high = bounds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (value < bounds[middle]!) high = middle;
    else low = middle + 1;
  }
  return means[low]!;
}
