/**
 * Pointers (Alon et al. 2022, "Neuro-Symbolic Language Modeling with Automaton-augmented Retrieval"): a neighbor that voted
 * for the token which came points on to what followed it in its own document, entry id + 1. What is pointed at is found
 * without a search, and the longer it has gone along with the text the more it can be trusted.
 *
 * RetoMaton lets pointers run on into whatever document was stored next; here they end where their document does.
 */
import { sortedBy, sortedByFloat } from '../math/order.ts';
import type { RetrievedRow } from './retriever.ts';

/** Of a search only the nearest are followed: what lies farther hardly ever votes for the right token for long. */
const MOST_FOLLOWED = 256;
/** Pointers kept; those that have followed the text longest, then the nearest. */
export const MOST_POINTERS = 256;
/** Runs are told apart up to 31 tokens: a history is 32 bits. */
const OLDEST = 0x8000_0000;

/** Entries that are pointed at. Shapes: m pointers. */
export interface Pointed {
  /** (m) ascending. */
  ids: Int32Array;
  /** (m) bit j: a search j tokens ago found the entry that lies j before this one, and the text has followed it since. */
  histories: Uint32Array;
}

/** What a step of retrieval gave: neighbors, nearest first, and how they were come by. Shapes: k neighbors. */
export interface TracedRow extends RetrievedRow {
  /** (k) as in `Pointed`; bit 0: this very step's search found it. */
  histories: Uint32Array;
}

export const NO_POINTERS: Pointed = { ids: new Int32Array(0), histories: new Uint32Array(0) };

/** How many tokens of the text an entry has gone along with, from its history. */
export function runOf(history: number): number {
  return history === 0 ? 0 : 31 - Math.clz32(history);
}

/** How many searches found an entry on its way here: RetoMaton has so many copies of it. */
export function timesFound(history: number): number {
  let count = 0;
  for (let rest = history; rest !== 0; rest &= rest - 1) count++;
  return count;
}

/**
 * What a row's neighbors point at once a token has come.
 * @param continues whether an entry's document goes on after it
 */
export function follow(
  { ids, values, histories }: TracedRow,
  token: number,
  continues: (entry: number) => boolean,
): Pointed {
  const agreed: number[] = [];
  let searched = 0;
  for (let i = 0; i < values.length && ids[i]! >= 0; i++) {
    const isPointed = histories[i]! > 1;
    if (!isPointed && searched >= MOST_FOLLOWED) continue;
    if (histories[i]! & 1) searched++;
    if (values[i] === token && continues(ids[i]!)) agreed.push(i);
  }
  if (agreed.length > MOST_POINTERS) {
    // Stable: of equal runs the nearest stay.
    agreed.sort((a, b) => runOf(histories[b]!) - runOf(histories[a]!));
    agreed.length = MOST_POINTERS;
  }
  const order = sortedBy(agreed, ids);
  const pointed = { ids: new Int32Array(order.length), histories: new Uint32Array(order.length) };
  for (let j = 0; j < order.length; j++) {
    const i = order[j]!;
    pointed.ids[j] = ids[i]! + 1;
    // The last bit stays: a run is that long or longer.
    pointed.histories[j] = ((histories[i]! << 1) | (histories[i]! & OLDEST)) >>> 0;
  }
  return pointed;
}

/** What was searched, as a row whose every neighbor comes from this step's search alone. */
export function searchedRow(row: RetrievedRow): TracedRow {
  return { ...row, histories: new Uint32Array(row.values.length).fill(1) };
}

/** (m) the place of each among a search's neighbors; -1 of those that it did not find. */
export function placesAmong({ ids, values }: RetrievedRow, pointed: Pointed): Int32Array {
  const places = new Int32Array(pointed.ids.length).fill(-1);
  if (places.length === 0) return places;
  for (let i = 0; i < values.length && ids[i]! >= 0; i++) {
    const at = indexOfSorted(pointed.ids, ids[i]!);
    if (at >= 0) places[at] = i;
  }
  return places;
}

/** -1 when it is not there. @param ids ascending */
function indexOfSorted(ids: Int32Array, wanted: number): number {
  let low = 0;
  let high = ids.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (ids[middle] === wanted) return middle;
    if (ids[middle]! < wanted) low = middle + 1;
    else high = middle - 1;
  }
  return -1;
}

/** What is pointed at, as it stands to a search. Shapes: m pointers. */
export interface Placed extends Pointed {
  /** (m) see `placesAmong`. */
  places: Int32Array;
  /** (m) squared L2; read of those alone that the search did not find. */
  distances: ArrayLike<number>;
  /** (m) token ids that followed. */
  values: ArrayLike<number>;
}

/** Neighbors of a search, and what is pointed at beside them, each entry once, nearest first. */
export function joinPointed(searched: RetrievedRow, pointed: Placed): TracedRow {
  const { places, distances } = pointed;
  const own = new Uint32Array(searched.values.length).fill(1);
  const others: number[] = [];
  for (let i = 0; i < places.length; i++) {
    if (places[i]! < 0) others.push(i);
    else own[places[i]!] = (pointed.histories[i]! | 1) >>> 0;
  }
  if (others.length === 0) return { ...searched, histories: own };
  let found = 0;
  while (found < searched.values.length && searched.ids[found]! >= 0) found++;
  const order = sortedByFloat(others, distances);
  const length = Math.max(searched.values.length, found + others.length);
  const row = {
    ids: new Int32Array(length).fill(-1),
    distances: new Float32Array(length).fill(Number.POSITIVE_INFINITY),
    values: new Uint32Array(length),
    histories: new Uint32Array(length),
  };
  for (let at = 0, a = 0, b = 0; at < found + others.length; at++) {
    const other = order[b]!;
    if (b < others.length && (a === found || distances[other]! < searched.distances[a]!)) {
      row.ids[at] = pointed.ids[other]!;
      row.distances[at] = distances[other]!;
      row.values[at] = pointed.values[other]!;
      row.histories[at] = pointed.histories[other]!;
      b++;
    } else {
      row.ids[at] = searched.ids[a]!;
      row.distances[at] = searched.distances[a]!;
      row.values[at] = searched.values[a]!;
      row.histories[at] = own[a]!;
      a++;
    }
  }
  return row;
}
