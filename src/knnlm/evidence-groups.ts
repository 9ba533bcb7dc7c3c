/** What was found for a query with its tokens as group numbers, one numbering for all sources: the form that gates read. */
import type { Evidence } from './gate.ts';
import type { GroupedEvidence } from './gate-reader.ts';
import { runOf, sortedBy } from './pointers.ts';
import { asDistances, Groups } from './vote-summary.ts';

/** Neighbors with the lengths of their runs, longest first. Shapes: k neighbors. */
export interface Followed {
  /** Places in the row. */
  places: number[];
  /** Tokens. */
  runs: number[];
}

/** Of a run. */
const LONGEST = 31;

/** Those that are pointed at. @param histories (k) */
export function longestFirst(histories: ArrayLike<number>, count = histories.length): Followed {
  const pointed: number[] = [];
  const shortness = new Uint8Array(count);
  for (let i = 0; i < count; i++) {
    if (histories[i]! <= 1) continue;
    pointed.push(i);
    shortness[i] = LONGEST - runOf(histories[i]!);
  }
  // Of equal runs the nearest comes first.
  const places = sortedBy(pointed, shortness);
  const runs: number[] = [];
  for (const place of places) runs.push(LONGEST - shortness[place]!);
  return { places, runs };
}

/** Runs as a gate reads them: how many tokens each is shorter than the longest. @param groups of the row's neighbors */
export function runVoters(
  { places, runs }: Followed,
  groups: ArrayLike<number>,
): GroupedEvidence['runs'] {
  const longest = runs[0] ?? 0;
  const count = places.length;
  const voters = { distances: new Float32Array(count), groups: new Uint16Array(count) };
  for (let i = 0; i < count; i++) {
    voters.distances[i] = longest - runs[i]!;
    voters.groups[i] = groups[places[i]!]!;
  }
  return { ...voters, count, longest };
}

/** Serves one query after another. */
export class EvidenceGroups {
  readonly #groups = new Groups();
  /** Of the evidence read last. */
  followed: Followed = { places: [], runs: [] };

  read({ row, cached, best = 0 }: Evidence): GroupedEvidence {
    this.#groups.clear();
    let count = row.values.length;
    while (count > 0 && row.distances[count - 1] === Number.POSITIVE_INFINITY) count--;
    const groups = new Uint16Array(count);
    for (let i = 0; i < count; i++) groups[i] = this.#groups.of(row.values[i]!);
    this.followed = longestFirst(row.histories, count);
    return {
      neighbors: { distances: asDistances(row.distances), groups, count },
      runs: runVoters(this.followed, groups),
      cached: {
        distances: asDistances(cached?.distances ?? []),
        groups: Uint16Array.from(cached?.values ?? [], (token) => this.#groups.of(token)),
        count: cached?.values.length ?? 0,
      },
      best,
    };
  }
}
