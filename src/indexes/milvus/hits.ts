/** Neighbors that a server gave, in arrays. */
import { squaredDistance } from '../../math/vectors.ts';

/** A row as the client gives it: 64-bit integers are text. */
export interface ClientHit {
  id: string;
  /** Squared L2. */
  score: number;
  value: number | string;
  /** (d) where it was asked for. */
  key?: ArrayLike<number>;
}

/** Of one query, (n) each, nearest first in the server's eyes. */
export interface Hits {
  /** Entries of the datastore. */
  ids: Uint32Array;
  /** Squared L2. */
  distances: Float32Array;
  values: Uint32Array;
}

export interface RankedHits {
  /** (n) places among the hits, nearest first. */
  places: Uint32Array;
  /** (n) squared L2 distances in that order. */
  distances: Float32Array;
}

export const NO_HITS: Hits = {
  ids: new Uint32Array(),
  distances: new Float32Array(),
  values: new Uint32Array(),
};

/**
 * @param first id of the datastore's first entry in the collection
 * @param isWanted tells which entries to keep
 * @param query (d) where keys came with the rows: distances are then those of the keys
 */
export function readHits(
  rows: readonly ClientHit[],
  first: number,
  isWanted: (entry: number) => boolean,
  query?: Float32Array,
): Hits {
  const ids = new Uint32Array(rows.length);
  const distances = new Float32Array(rows.length);
  const values = new Uint32Array(rows.length);
  let n = 0;
  for (const { id, score, value, key } of rows) {
    const entry = Number(id) - first;
    if (!isWanted(entry)) continue;
    ids[n] = entry;
    distances[n] = query ? squaredDistance(query, key!) : score;
    values[n++] = Number(value);
  }
  return {
    ids: ids.subarray(0, n),
    distances: distances.subarray(0, n),
    values: values.subarray(0, n),
  };
}

/** Nearest first, equal ones in ascending id. */
export function rankByDistance({ ids, distances }: Hits): RankedHits {
  const order = (a: number, b: number): number =>
    distances[a]! - distances[b]! || ids[a]! - ids[b]!;
  const places = Uint32Array.from(ids, (_, i) => i);
  // They mostly come in order.
  if (places.every((place) => place === 0 || order(place - 1, place) < 0))
    return { places, distances };
  places.sort(order);
  return { places, distances: distances.map((_, i) => distances[places[i]!]!) };
}
