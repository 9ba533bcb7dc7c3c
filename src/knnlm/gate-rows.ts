/**
 * The rows that gates are fitted on: features and the probability of each target under every expert, as they are when some of the
 * searches have been made and others not.
 */
import { expertCount, featureCount, type GateShape } from '../datastore/gate-sizes.ts';
import { type EvidenceTable, mostGroups, NOT_FOUND } from './cached-evidence.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import { Runs } from './evidence-groups.ts';
import { GateReader, type GroupedEvidence } from './gate-reader.ts';

/** Shapes: m rows, F features, E experts. */
export interface GateRows {
  shape: GateShape;
  /** (m, F) raw features. */
  features: Float32Array;
  /** (m, F) 0 where there is nothing to tell. */
  known: Uint8Array;
  /** (m, E) 0 where an expert has nothing to say. */
  open: Uint8Array;
  /** (m, E) p of the target under each expert, over the model's: the first is 1. */
  ratios: Float32Array;
  /** (m) log p_LM. */
  lm: Float32Array;
  /** (m) */
  units: Int32Array;
}

/** What is fitted on. */
export interface FittingTables {
  neighbors: NeighborTable;
  evidence: EvidenceTable;
}

/** Which searches a row knows of: bit j, whether the one j tokens ago was made. All ones: all of them. */
export const ALL_SEARCHES = 0xffff_ffff;

/** What was known of a kept target when only some searches had been made. */
export class EvidenceReader {
  readonly #neighbors: NeighborTable;
  readonly #evidence: EvidenceTable;
  readonly #k: number;
  readonly #runs = new Runs();
  /** Histories, distances and groups of the voters: those found, then those only pointed at. */
  readonly #histories: Uint32Array;
  readonly #distances: Float32Array;
  readonly #groups: Uint16Array;

  /** @param k neighbors of a search that count */
  constructor({ neighbors, evidence }: FittingTables, k: number) {
    this.#neighbors = neighbors;
    this.#evidence = evidence;
    this.#k = k;
    const room = k + evidence.pointers.room;
    this.#histories = new Uint32Array(room);
    this.#distances = new Float32Array(room);
    this.#groups = new Uint16Array(room);
  }

  /** @param at number of the kept target @returns valid until the next call */
  read(at: number, searches: number): GroupedEvidence {
    const { cached, best } = this.#evidence;
    const count = this.#merge(at, (searches & 1) === 1, searches);
    const groups = this.#groups.subarray(0, count);
    const voters = at * cached.room;
    return {
      neighbors: { distances: this.#distances, groups, count },
      runs: this.#runs.read(this.#histories, groups, count),
      cached: {
        distances: cached.distances.subarray(voters, voters + cached.room),
        groups: cached.groups.subarray(voters, voters + cached.room),
        count: cached.counts[at]!,
      },
      best: best[at]!,
    };
  }

  /** The voters nearest first. @returns how many */
  #merge(at: number, isSearched: boolean, searches: number): number {
    const { rows, groups, k, pointers } = this.#evidence;
    const table = this.#neighbors;
    const row = rows[at]! * table.k;
    let found = isSearched ? Math.min(this.#k, table.k) : 0;
    while (found > 0 && table.distances[row + found - 1] === Number.POSITIVE_INFINITY) found--;
    const alive: number[] = [];
    const histories = new Map<number, number>();
    for (let i = 0; i < pointers.counts[at]!; i++) {
      const p = at * pointers.room + i;
      const history = (pointers.histories[p]! & searches & ~1) >>> 0;
      if (history === 0) continue;
      const place = pointers.places[p]!;
      if (place !== NOT_FOUND && place < found) histories.set(place, history);
      else alive.push(p);
    }
    let count = 0;
    for (let a = 0, b = 0; a < found || b < alive.length; count++) {
      const p = alive[b]!;
      if (b < alive.length && (a === found || pointers.distances[p]! < table.distances[row + a]!)) {
        const history = pointers.histories[p]! & searches & ~1;
        this.#put(count, pointers.distances[p]!, pointers.groups[p]!, history);
        b++;
      } else {
        const history = (histories.get(a) ?? 0) | 1;
        this.#put(count, table.distances[row + a]!, groups[at * k + a]!, history);
        a++;
      }
    }
    return count;
  }

  #put(at: number, distance: number, group: number, history: number): void {
    this.#distances[at] = distance;
    this.#groups[at] = group;
    this.#histories[at] = history;
  }
}

/** @param searches (m) which searches each row knows of; all, when left out */
export function gateRows(
  { neighbors, evidence }: FittingTables,
  { shape, k, searches }: { shape: GateShape; k: number; searches?: ArrayLike<number> },
): GateRows {
  const m = evidence.rows.length;
  const [width, experts] = [featureCount(shape), expertCount(shape)];
  const rows: GateRows = {
    shape,
    features: new Float32Array(m * width),
    known: new Uint8Array(m * width),
    open: new Uint8Array(m * experts),
    ratios: new Float32Array(m * experts),
    lm: Float32Array.from(evidence.rows, (row) => neighbors.lm[row]!),
    units: Int32Array.from(evidence.rows, (row) => neighbors.units[row]!),
  };
  const evidenceReader = new EvidenceReader({ neighbors, evidence }, k);
  const reader = new GateReader(shape, mostGroups(evidence));
  const shares = new Float64Array(experts);
  for (let at = 0; at < m; at++) {
    reader.read(evidenceReader.read(at, searches?.[at] ?? ALL_SEARCHES));
    rows.features.set(reader.features, at * width);
    rows.known.set(reader.known, at * width);
    rows.open.set(reader.open, at * experts);
    reader.shares(evidence.targets[at]!, shares);
    const perLm = Math.exp(-rows.lm[at]!);
    rows.ratios[at * experts] = 1;
    for (let e = 1; e < experts; e++) rows.ratios[at * experts + e] = shares[e]! * perLm;
  }
  return rows;
}

/** The same rows as a gate sees them that looks at fewer sources. @param shape of the rows, without runs, cache or both */
export function narrowRows(rows: GateRows, shape: GateShape): GateRows {
  const { temperatures, ranks, runs, cache, usesModel } = rows.shape;
  const plain: GateShape = { temperatures, ranks, usesModel };
  const withRuns = { ...plain, runs };
  /** Of a table whose columns are counted by `widthOf`: those of the neighbors, then of runs, then of the cache. */
  const columnsOf = (widthOf: (shape: GateShape) => number): number[] => {
    const [first, second, all] = [widthOf(plain), widthOf(withRuns), widthOf(rows.shape)];
    return Array.from({ length: all }, (_, column) => column).filter(
      (column) => column < first || (column < second ? shape.runs && runs : shape.cache && cache),
    );
  };
  const [features, experts] = [columnsOf(featureCount), columnsOf(expertCount)];
  const [width, count] = [featureCount(rows.shape), expertCount(rows.shape)];
  return {
    ...rows,
    shape,
    features: pickColumns(rows.features, width, features),
    known: pickColumns(rows.known, width, features),
    open: pickColumns(rows.open, count, experts),
    ratios: pickColumns(rows.ratios, count, experts),
  };
}

/** @param table (m, width) @returns (m, columns) */
function pickColumns<T extends Float32Array | Uint8Array>(
  table: T,
  width: number,
  columns: readonly number[],
): T {
  const m = table.length / width;
  const out = new (table.constructor as new (length: number) => T)(m * columns.length);
  for (let row = 0, at = 0; row < m; row++)
    for (const column of columns) out[at++] = table[row * width + column]!;
  return out;
}
