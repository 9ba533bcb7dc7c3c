/** Entries that are asked for by id, dealt out among the parts of an index. */
import type { EntryRows } from './vector-index.ts';

/** Of the wanted entries those in [start, end), counted from there, and where among all of the wanted they are. */
export function rowsWithin(
  { counts, ids }: EntryRows,
  start: number,
  end: number,
): EntryRows & { places: number[] } {
  const own = new Uint32Array(counts.length);
  const places: number[] = [];
  let at = 0;
  for (const [query, count] of counts.entries()) {
    for (const last = at + count; at < last; at++) {
      if (ids[at]! < start || ids[at]! >= end) continue;
      own[query]!++;
      places.push(at);
    }
  }
  return { counts: own, ids: Uint32Array.from(places, (place) => ids[place]! - start), places };
}
