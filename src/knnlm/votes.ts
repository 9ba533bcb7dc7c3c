/** What the voters of a query give to each token, all together. */
import { Groups } from './groups.ts';

/** log p_kNN of every token that is voted for; all others are -Infinity. Shapes: n tokens. */
export class Votes {
  /** (n) in the order in which they are first voted for. */
  readonly tokens: readonly number[];
  /** (n) natural logarithms. */
  readonly logProbs: readonly number[];

  constructor(tokens: readonly number[], logProbs: readonly number[]) {
    this.tokens = tokens;
    this.logProbs = logProbs;
  }

  /** n */
  get size(): number {
    return this.tokens.length;
  }

  /** -Infinity when nothing votes for it. */
  of(token: number): number {
    const at = this.tokens.indexOf(token);
    return at < 0 ? Number.NEGATIVE_INFINITY : this.logProbs[at]!;
  }
}

export const NO_VOTES = new Votes([], []);

// Filled and emptied by every call: what it takes to add votes up is not allocated for each query.
const groups = new Groups();
let sums = new Float64Array(1024);

/** @param row (k) as `NeighborRow` @param weights (k) the neighbors' shares of the vote */
export function votesOf(
  { distances, values }: { distances: ArrayLike<number>; values: ArrayLike<number> },
  weights: Float64Array,
): Votes {
  groups.clear();
  if (sums.length < weights.length) sums = new Float64Array(2 * weights.length);
  const tokens: number[] = [];
  for (let i = 0; i < weights.length; i++) {
    if (distances[i] === Number.POSITIVE_INFINITY) continue;
    const group = groups.of(values[i]!);
    if (group === tokens.length) {
      tokens.push(values[i]!);
      sums[group] = 0;
    }
    sums[group]! += weights[i]!;
  }
  const logProbs: number[] = [];
  for (let group = 0; group < tokens.length; group++) logProbs.push(Math.log(sums[group]!));
  return new Votes(tokens, logProbs);
}
