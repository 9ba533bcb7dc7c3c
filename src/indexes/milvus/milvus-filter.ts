/** Milvus expressions over entry ids. */
import type { IdRange } from '../../math/vectors.ts';
import type { FlatRanges } from '../id-ranges.ts';

/** True for the entries of these ranges. @param first id of the datastore's first entry */
export function inside(ranges: readonly IdRange[], first: number): string {
  return ranges
    .map(([start, end]) =>
      end === start + 1
        ? `id == ${first + start}`
        : `(id >= ${first + start} and id < ${first + end})`,
    )
    .join(' or ');
}

/** True for all entries but those of the ranges; empty when there are none. */
export function outside(ranges: FlatRanges, first: number): string {
  if (ranges.length === 0) return '';
  const pairs = Array.from(
    { length: ranges.length / 2 },
    (_, r): IdRange => [ranges[2 * r]!, ranges[2 * r + 1]!],
  );
  return `not (${inside(pairs, first)})`;
}

/** What of the ranges lies outside others; both sorted and disjoint. */
export function subtract(ranges: FlatRanges, others: FlatRanges): FlatRanges {
  const left: number[] = [];
  for (let r = 0, o = 0; r < ranges.length; r += 2) {
    let start = ranges[r]!;
    const end = ranges[r + 1]!;
    while (o < others.length && others[o + 1]! <= start) o += 2;
    for (let p = o; p < others.length && others[p]! < end; p += 2) {
      if (others[p]! > start) left.push(start, others[p]!);
      start = Math.max(start, others[p + 1]!);
    }
    if (start < end) left.push(start, end);
  }
  return Int32Array.from(left);
}

/** The ranges of both, sorted and disjoint. */
export function union(a: FlatRanges, b: FlatRanges): FlatRanges {
  if (a.length === 0 || b.length === 0) return a.length === 0 ? b : a;
  const rest = subtract(b, a);
  const pairs: [number, number][] = [];
  for (const ranges of [a, rest])
    for (let r = 0; r < ranges.length; r += 2) pairs.push([ranges[r]!, ranges[r + 1]!]);
  pairs.sort((x, y) => x[0] - y[0]);
  return Int32Array.from(pairs.flat());
}
