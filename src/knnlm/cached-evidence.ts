/**
 * What memory held for some of a text's targets, beside their neighbors (`cached-neighbors.ts`): all that a gate and the skipping of
 * searches are fitted on. Tokens are group numbers, so that votes can be counted without the vocabulary. Every search
 * was made; a pointer's history says which searches found it, so that what would have been known without some of
 * them can be told afterwards. The arrays lie in shared memory, for the worker that fits.
 */
import { CACHE_NEIGHBORS } from './continuous-cache.ts';
import type { Evidence } from './gate.ts';
import { Groups } from './groups.ts';
import { MOST_POINTERS } from './pointers.ts';

/** Targets kept, at most: enough to fit a gate; 110 MB at k = 1,024. */
export const MOST_EVIDENCE = 20_000;
/** Groups are numbered in 16 bits. */
export const MOST_NEIGHBORS = 65_536 - MOST_POINTERS - CACHE_NEIGHBORS;
/** Of a pointer that the search did not find. */
export const NOT_FOUND = 0xffff;

/** Voters of the kept targets beside their neighbors. Shapes: m targets, n voters at most. */
export interface VoterTable {
  /** n */
  room: number;
  /** (m) how many there are. */
  counts: Uint16Array;
  /** (m, n) squared L2, ascending. */
  distances: Float32Array;
  /** (m, n) */
  groups: Uint16Array;
}

/** Plain arrays, as they are sent to a worker. Shapes: m targets, k neighbors, n voters. */
export interface EvidenceTable {
  /** (m) their rows among the neighbors, ascending. */
  rows: Int32Array;
  /** (m) which lane each is of: positions of a lane follow each other. */
  lanes: Int32Array;
  /** (m) the model's largest log-probability. */
  best: Float32Array;
  /** (m) group of the target; -1 when nothing voted for it. */
  targets: Int32Array;
  k: number;
  /** (m, k) of the neighbors. */
  groups: Uint16Array;
  pointers: VoterTable & {
    /** (m, n) see `TracedRow`. */
    histories: Uint32Array;
    /** (m, n) place among the neighbors, or `NOT_FOUND`. */
    places: Uint16Array;
  };
  cached: VoterTable;
}

/** Groups of one query at most: they were numbered over all of its voters, however few of its neighbors count now. */
export const mostGroups = ({ k, pointers, cached }: EvidenceTable): number =>
  k + pointers.room + cached.room;

const shared = (bytes: number): SharedArrayBuffer => new SharedArrayBuffer(bytes);

function voterTable(m: number, room: number): VoterTable {
  return {
    room,
    counts: new Uint16Array(shared(2 * m)),
    distances: new Float32Array(shared(4 * m * room)),
    groups: new Uint16Array(shared(2 * m * room)),
  };
}

export class CachedEvidence {
  readonly #table: EvidenceTable;
  /** Where each row among the neighbors is kept. */
  readonly #places: ReadonlyMap<number, number>;
  readonly #groups = new Groups();

  /** @param kept rows among the neighbors, ascending @param lanes of each */
  constructor(kept: readonly number[], lanes: readonly number[], k: number) {
    const m = kept.length;
    if (k > MOST_NEIGHBORS) throw new Error('Groups of neighbors are numbered in 16 bits.');
    this.#places = new Map(kept.map((row, at) => [row, at]));
    this.#table = {
      rows: Int32Array.from(kept),
      lanes: Int32Array.from(lanes),
      best: new Float32Array(shared(4 * m)),
      targets: new Int32Array(shared(4 * m)),
      k,
      groups: new Uint16Array(shared(2 * m * k)),
      pointers: {
        ...voterTable(m, MOST_POINTERS),
        histories: new Uint32Array(shared(4 * m * MOST_POINTERS)),
        places: new Uint16Array(shared(2 * m * MOST_POINTERS)),
      },
      cached: voterTable(m, CACHE_NEIGHBORS),
    };
  }

  /** Puts a row in its place, if it is one of those that are kept. */
  set(row: number, { row: neighbors, cached, best = 0 }: Evidence, target: number): void {
    const at = this.#places.get(row);
    if (at === undefined) return;
    const { groups, pointers, k } = this.#table;
    this.#groups.clear();
    let found = 0;
    let pointed = 0;
    for (let i = 0; i < neighbors.values.length && neighbors.ids[i]! >= 0; i++) {
      const group = this.#groups.of(neighbors.values[i]!);
      const history = neighbors.histories[i]!;
      const isFound = (history & 1) === 1 && found < k;
      if (isFound) groups[at * k + found] = group;
      if (history > 1 && pointed < pointers.room) {
        const place = at * pointers.room + pointed++;
        pointers.distances[place] = neighbors.distances[i]!;
        pointers.groups[place] = group;
        pointers.histories[place] = history;
        pointers.places[place] = isFound ? found : NOT_FOUND;
      }
      if (isFound) found++;
    }
    pointers.counts[at] = pointed;
    if (cached) this.#setCached(at, cached);
    this.#table.best[at] = best;
    this.#table.targets[at] = this.#groups.find(target);
  }

  #setCached(at: number, { distances, values }: NonNullable<Evidence['cached']>): void {
    const { cached } = this.#table;
    const count = Math.min(cached.room, values.length);
    cached.counts[at] = count;
    for (let i = 0; i < count; i++) {
      cached.distances[at * cached.room + i] = distances[i]!;
      cached.groups[at * cached.room + i] = this.#groups.of(values[i]!);
    }
  }

  table(): EvidenceTable {
    return this.#table;
  }
}
