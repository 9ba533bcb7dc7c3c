/** Ids left out of a search: flat arrays [start, end, start, end, …], sorted and disjoint. */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';

export type FlatRanges = Int32Array;

/** Flattens ranges, dropping empty ones and what lies outside [0, n). Errors: `INVALID_ARGUMENT` when unsorted or overlapping. */
export function flattenRanges(ranges: readonly IdRange[], n: number, shared = false): FlatRanges {
  const bytes = ranges.length * 8;
  const flat = new Int32Array(shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes));
  let length = 0;
  let last = Number.NEGATIVE_INFINITY;
  for (const [start, end] of ranges) {
    if (!(start <= end && start >= last)) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Excluded ranges must be sorted and disjoint, but [${start}, ${end}) follows an end of ${last}. Sort and merge them first.`,
      );
    }
    last = end;
    const from = Math.max(0, start);
    const to = Math.min(n, end);
    if (from >= to) continue;
    flat[length++] = from;
    flat[length++] = to;
  }
  return flat.subarray(0, length);
}

/** Ids covered. */
export function countIds(ranges: FlatRanges): number {
  let count = 0;
  for (let r = 0; r < ranges.length; r += 2) count += ranges[r + 1]! - ranges[r]!;
  return count;
}

/** Index of the first range that ends after `id`, times two. */
export function firstRangeAfter(ranges: FlatRanges, id: number): number {
  let low = 0;
  let high = ranges.length >> 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[2 * middle + 1]! > id) high = middle;
    else low = middle + 1;
  }
  return 2 * low;
}

export function includesId(ranges: FlatRanges, id: number): boolean {
  const r = firstRangeAfter(ranges, id);
  return r < ranges.length && ranges[r]! <= id;
}
