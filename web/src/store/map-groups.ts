/** Which points of the map get a color of their own: those of the most frequent documents or targets. */
import type { MapReply } from '../../../src/server/wire.ts';
import { visibleToken } from '../state/format.ts';

/** Colors that can be told apart, also by people who see no red and green. */
export const COLORS = 7;

export interface MapGroups {
  /** Most frequent first, COLORS at most. */
  names: string[];
  /** (m) index into names, or COLORS for all others. */
  of: Uint8Array;
  hasOthers: boolean;
}

export function topGroups(map: MapReply, by: 'document' | 'target'): MapGroups {
  const values = by === 'document' ? map.documents : map.target_ids;
  const counts = new Map<number, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  const top = [...counts].sort((a, b) => b[1] - a[1]).slice(0, COLORS);
  const groups = new Map(top.map(([value], group) => [value, group]));
  const names = top.map(([value]) =>
    by === 'document'
      ? map.document_ids[value]!
      : visibleToken(map.targets[map.target_ids.indexOf(value)]!),
  );
  return {
    names,
    of: Uint8Array.from(values, (value) => groups.get(value) ?? COLORS),
    hasOthers: counts.size > top.length,
  };
}
