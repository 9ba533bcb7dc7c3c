/** Joins the rows that several workers found for the same queries. */
import type { RankedRows } from './ivf-task.ts';

/**
 * The nearest of one query, by distance, then by id: bits of positive floats order as the floats do.
 * @param starts where the query's rows start in each part
 * @param each told the entry id and the distance's bits
 * @returns how many there were, `most` at most
 */
export function mergeRanked(
  parts: readonly RankedRows[],
  starts: Uint32Array,
  query: number,
  most: number,
  each: (place: number, id: number, bits: number) => void,
): number {
  const heads = starts.slice();
  const ends = starts.map((start, p) => start + parts[p]!.counts[query]!);
  let found = 0;
  for (; found < most; found++) {
    let nearest = -1;
    let id = 0;
    let bits = 0;
    for (let p = 0; p < parts.length; p++) {
      if (heads[p]! >= ends[p]!) continue;
      const { pairs } = parts[p]!;
      const otherId = pairs[2 * heads[p]!]!;
      const otherBits = pairs[2 * heads[p]! + 1]!;
      if (nearest < 0 || otherBits < bits || (otherBits === bits && otherId < id)) {
        nearest = p;
        id = otherId;
        bits = otherBits;
      }
    }
    if (nearest < 0) break;
    heads[nearest]!++;
    each(found, id, bits);
  }
  for (let p = 0; p < parts.length; p++) starts[p] = ends[p]!;
  return found;
}
