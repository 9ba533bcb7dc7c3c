/** How much of two states of a datastore is the same, so that a reader need not read it again. */
import type { Datastore } from './datastore.ts';

/**
 * Entries, from 0 on, that are the same documents in the same order. Document lines tell: they hold the texts' hashes,
 * so equal lines mean equal entries, in whatever folder they lie.
 */
export function sharedEntries(before: Datastore, now: Datastore): number {
  let shared = 0;
  const later = now.manifest.segments;
  for (const [i, segment] of before.manifest.segments.entries()) {
    if (i >= later.length) break;
    if (!now.documents.sharesLines(before.documents, i)) {
      const lines = before.documents.linesOf(i);
      const linesNow = now.documents.linesOf(i);
      if (!linesNow.subarray(0, lines.length).equals(lines)) break;
      if (linesNow.length > lines.length) return shared + segment.entries;
    }
    shared += segment.entries;
  }
  return shared;
}
