/**
 * Places sorted by the numbers at them, without a comparison function: one that is made anew for every token is called through for every pair
 * and compiled anew after every collection. A place and its number become one whole number, and those are sorted.
 */

/** More places than there are: with 32 bits of a number beside it a place still fits into a double's 53. */
const PLACES = 2 ** 20;

/** Ascending, equal ones by place. @param places below 2²⁰ @param values whole numbers from 0 on, below 2³³ */
export function sortedBy(places: readonly number[], values: ArrayLike<number>): number[] {
  const keys = new Float64Array(places.length);
  for (let i = 0; i < keys.length; i++) keys[i] = values[places[i]!]! * PLACES + places[i]!;
  return placesOf(keys);
}

/**
 * The same for numbers in single precision, none of them NaN.
 * @param sign -1 for descending order, equal ones still by ascending place
 */
export function sortedByFloat(
  places: readonly number[],
  values: ArrayLike<number>,
  sign: 1 | -1 = 1,
): number[] {
  const keys = new Float64Array(places.length);
  for (let i = 0; i < keys.length; i++)
    keys[i] = rankOf(sign * values[places[i]!]!) * PLACES + places[i]!;
  return placesOf(keys);
}

function placesOf(keys: Float64Array): number[] {
  keys.sort();
  const sorted: number[] = [];
  for (let i = 0; i < keys.length; i++) sorted.push(keys[i]! % PLACES);
  return sorted;
}

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** A number in single precision among all there are, from 0 on: their bits are in order, those of negative ones backwards. */
function rankOf(value: number): number {
  // Both zeros are one number.
  single[0] = value + 0;
  const pattern = bits[0]!;
  return pattern < 2 ** 31 ? pattern + 2 ** 31 : 2 ** 32 - 1 - pattern;
}
