/** How often each token follows in a datastore: how well a memory may know it. */
import { Breather } from '../math/breather.ts';
import type { Entries } from './entries.ts';

/** Entries counted at most; of a larger store an even sample of documents' parts, scaled up. */
const MOST_COUNTED = 4_000_000;
const AT_ONCE = 65_536;

/** @returns (V) occurrences among the values, about where the store is large */
export async function tokenCounts(datastore: Entries): Promise<Float64Array> {
  const counts = new Float64Array(datastore.header.vocabSize);
  const breather = new Breather();
  let total = 0;
  for (const { length } of datastore.documents) total += length;
  const share = Math.min(1, MOST_COUNTED / Math.max(1, total));
  let due = 0;
  let counted = 0;
  for (const { start, length } of datastore.documents) {
    for (let at = start; at < start + length; at += AT_ONCE) {
      const size = Math.min(AT_ONCE, start + length - at);
      due += size * share;
      const wanted = Math.min(size, Math.round(due - counted));
      if (wanted <= 0) continue;
      for (const token of await datastore.valueRange(at, at + wanted)) counts[token]!++;
      counted += wanted;
      await breather.pause();
    }
  }
  if (counted < total) for (let i = 0; i < counts.length; i++) counts[i]! *= total / counted;
  return counts;
}
