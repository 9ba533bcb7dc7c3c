/** Neighbors that lie close together in one document, as one place. Shapes: k neighbors. */
import type { RawNeighbors } from '../../../src/server/wire.ts';

/** Tokens within which two neighbors are of one place. */
const NEARBY = 24;

export interface Place {
  /** Its neighbors, nearest first: indexes into the k. */
  neighbors: number[];
}

/** Places in the order of their nearest neighbor. @param isShown whether neighbor i counts */
export function placesOf(raw: RawNeighbors, isShown: (i: number) => boolean): Place[] {
  const places: Place[] = [];
  /** Per document the places it has so far. */
  const known = new Map<number, Place[]>();
  for (let i = 0; i < raw.entries.length; i++) {
    if (!isShown(i)) continue;
    const own = known.get(raw.documents[i]!) ?? [];
    const near = own.find(
      ({ neighbors }) => Math.abs(raw.positions[neighbors[0]!]! - raw.positions[i]!) <= NEARBY,
    );
    if (near) {
      near.neighbors.push(i);
      continue;
    }
    const place = { neighbors: [i] };
    places.push(place);
    own.push(place);
    known.set(raw.documents[i]!, own);
  }
  return places;
}
