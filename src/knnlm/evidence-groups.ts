/** What was found for a query with its tokens as group numbers, one numbering for all sources: the form that gates read. */
import { sortedBy } from '../math/order.ts';
import type { Evidence } from './gate.ts';
import type { GroupedEvidence } from './gate-reader.ts';
import { Groups } from './groups.ts';
import type { NeighborRow } from './interpolate.ts';
import { runOf } from './pointers.ts';
import { asDistances, NO_VOTERS, type Voters } from './vote-summary.ts';

/** Of a run. */
const LONGEST = 31;

/** Those neighbors that are pointed at, longest runs first. Serves one query after another. Shapes: k neighbors. */
export class Runs {
  /** Places in the row of those read last. */
  places: readonly number[] = [];
  #shortness = new Uint8Array(0);
  #distances = new Float32Array(0);
  #groups = new Uint16Array(0);

  /**
   * Runs as a gate reads them: how many tokens each is shorter than the longest.
   * @param histories (k) @param groups (k) @returns valid until the next query
   */
  read(
    histories: ArrayLike<number>,
    groups: ArrayLike<number>,
    count: number,
  ): GroupedEvidence['runs'] {
    this.#makeRoom(count);
    const [shortness, distances] = [this.#shortness, this.#distances];
    const pointed: number[] = [];
    for (let i = 0; i < count; i++) {
      if (histories[i]! <= 1) continue;
      pointed.push(i);
      shortness[i] = LONGEST - runOf(histories[i]!);
    }
    // Of equal runs the nearest comes first.
    const places = sortedBy(pointed, shortness);
    const longest = places.length > 0 ? LONGEST - shortness[places[0]!]! : 0;
    for (let i = 0; i < places.length; i++) {
      distances[i] = longest - (LONGEST - shortness[places[i]!]!);
      this.#groups[i] = groups[places[i]!]!;
    }
    this.places = places;
    return { distances, groups: this.#groups, count: places.length, longest };
  }

  #makeRoom(count: number): void {
    if (this.#shortness.length >= count) return;
    this.#shortness = new Uint8Array(2 * count);
    this.#distances = new Float32Array(2 * count);
    this.#groups = new Uint16Array(2 * count);
  }
}

/** Serves one query after another. */
export class EvidenceGroups {
  readonly #groups = new Groups();
  readonly #runs = new Runs();
  #neighborGroups = new Uint16Array(0);
  #cachedGroups = new Uint16Array(0);

  /** Places in the row of the runs read last. */
  get places(): readonly number[] {
    return this.#runs.places;
  }

  /** @returns valid until the next query */
  read({ row, cached, best = 0 }: Evidence): GroupedEvidence {
    this.#groups.clear();
    let count = row.values.length;
    while (count > 0 && row.distances[count - 1] === Number.POSITIVE_INFINITY) count--;
    const groups = this.#groups.ofAll(row.values, count, this.#neighborGroups);
    this.#neighborGroups = groups;
    return {
      neighbors: { distances: asDistances(row.distances), groups, count },
      runs: this.#runs.read(row.histories, groups, count),
      cached: this.#remembered(cached),
      best,
    };
  }

  /** What is known before a search: the pointers, and the text's own past. @param histories (m) @param values (m) token ids that followed */
  readBefore(
    histories: ArrayLike<number>,
    values: ArrayLike<number>,
    { cached, best = 0 }: Pick<Evidence, 'cached' | 'best'>,
  ): GroupedEvidence {
    this.#groups.clear();
    const groups = this.#groups.ofAll(values, values.length, this.#neighborGroups);
    this.#neighborGroups = groups;
    return {
      neighbors: NO_VOTERS,
      runs: this.#runs.read(histories, groups, values.length),
      cached: this.#remembered(cached),
      best,
    };
  }

  #remembered(cached: NeighborRow | undefined): Voters {
    if (!cached) return NO_VOTERS;
    const count = cached.values.length;
    const groups = this.#groups.ofAll(cached.values, count, this.#cachedGroups);
    this.#cachedGroups = groups;
    return { distances: asDistances(cached.distances), groups, count };
  }
}
