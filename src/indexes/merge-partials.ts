/** Joins what the parts of an index found for a tile of queries, and says which queries must be searched again. */
import { withTies } from './query-code.ts';
import type { PartialNeighbors } from './search-task.ts';

export interface MergeTarget {
  k: number;
  /** (q) first element of each query's row in ids and distances. */
  rows: number[];
  /** (q) entries that may be returned to each query. */
  remaining: number[];
  ids: Int32Array;
  distances: Float32Array;
}

/** A query whose radius was too small, and one that is surely large enough. */
export interface Unfinished {
  query: number;
  radius: number;
}

/** @param parts by ascending entry ids, so that a tie is won by the first */
export function mergePartials(parts: PartialNeighbors[], target: MergeTarget): Unfinished[] {
  const { k, rows, remaining, ids, distances } = target;
  const unfinished: Unfinished[] = [];
  for (const [q, row] of rows.entries()) {
    const found =
      parts.length === 1 ? copy(parts[0]!, q, target, row) : merge(parts, q, target, row);
    ids.fill(-1, row + found, row + k);
    distances.fill(Number.POSITIVE_INFINITY, row + found, row + k);
    const wanted = Math.min(k, remaining[q]!);
    if (found === remaining[q]) continue;
    const reach =
      found === wanted ? withTies(distances[row + found - 1]!) : Number.POSITIVE_INFINITY;
    if (!parts.every((part) => part.radii[q]! >= reach)) {
      unfinished.push({ query: q, radius: reach });
    }
  }
  return unfinished;
}

function copy(part: PartialNeighbors, q: number, { ids, distances }: MergeTarget, row: number) {
  const start = q * part.stride;
  const end = start + part.counts[q]!;
  ids.set(part.ids.subarray(start, end), row);
  distances.set(part.distances.subarray(start, end), row);
  return end - start;
}

/** The k first of several sorted rows. */
function merge(parts: PartialNeighbors[], q: number, target: MergeTarget, row: number): number {
  const { k, ids, distances } = target;
  const heads = parts.map((part) => q * part.stride);
  const ends = parts.map((part, p) => heads[p]! + part.counts[q]!);
  let found = 0;
  for (; found < k; found++) {
    let nearest = -1;
    let distance = Number.POSITIVE_INFINITY;
    for (let p = 0; p < parts.length; p++) {
      if (heads[p]! >= ends[p]!) continue;
      const candidate = parts[p]!.distances[heads[p]!]!;
      if (nearest < 0 || candidate < distance) {
        nearest = p;
        distance = candidate;
      }
    }
    if (nearest < 0) break;
    ids[row + found] = parts[nearest]!.ids[heads[nearest]!]!;
    distances[row + found] = distance;
    heads[nearest]!++;
  }
  return found;
}
