/**
 * The votes of one source (neighbors, pointers, a cache) at several temperatures at once, and what they say of themselves:
 * how large the largest share is and how spread they are. Where voters agree they are right more often.
 */

import { exp } from '../math/exp.ts';

/** Voters of one query, nearest first. Voters for one token share a group number. */
export interface Voters {
  /** (n) squared L2, or whatever else the temperatures are in. */
  distances: Float32Array;
  /** (n) from `Groups`. */
  groups: Uint16Array;
  /** n; the arrays may be longer. */
  count: number;
}

/** Where a source has nothing to say, as neighbors do before they are searched. */
export const NO_VOTERS: Voters = {
  distances: new Float32Array(0),
  groups: new Uint16Array(0),
  count: 0,
};

/** Distances as voters have them: of one type, so that reading them is quick. */
export const asDistances = (distances: ArrayLike<number>): Float32Array =>
  distances instanceof Float32Array ? distances : Float32Array.from(distances);

/** Shapes: J temperatures, n voters. Allocates nothing per query. */
export class VoteSummary {
  /** (J) ascending, each twice the one before. */
  readonly temperatures: readonly number[];
  /** (J) Σ exp(-(d - d_1) / T_j): what the weights are divided by. */
  readonly sums: Float64Array;
  /** (2 J) for each temperature the log of the largest share, and the entropy of the shares in nats. */
  readonly features: Float64Array;
  /** (J, room) share of each group. */
  readonly #shares: Float64Array;
  /** (room) exp(-(d - d_1) / T) at the hottest temperature, of the voters read last. */
  readonly #weights: Float64Array;
  readonly #room: number;
  /** Groups up to here have voters; those beyond are left from other queries. */
  #groupCount = 0;

  /** @param room voters, and so groups, at most */
  constructor(temperatures: readonly number[], room: number) {
    this.temperatures = temperatures;
    this.sums = new Float64Array(temperatures.length);
    this.features = new Float64Array(2 * temperatures.length);
    this.#shares = new Float64Array(temperatures.length * room);
    this.#weights = new Float64Array(room);
    this.#room = room;
  }

  /** Of a group, at temperature number t; of the voters read last. */
  share(t: number, group: number): number {
    return group < this.#groupCount ? this.#shares[t * this.#room + group]! : 0;
  }

  /** @param voters one at least */
  read({ distances, groups, count }: Voters): void {
    const hottest = this.temperatures.length - 1;
    let groupCount = 0;
    for (let i = 0; i < count; i++) if (groups[i]! >= groupCount) groupCount = groups[i]! + 1;
    this.#groupCount = groupCount;
    for (let t = 0; t <= hottest; t++)
      this.#shares.fill(0, t * this.#room, t * this.#room + groupCount);
    const { sums, temperatures } = this;
    const [shares, weights, room] = [this.#shares, this.#weights, this.#room];
    sums.fill(0);
    for (let i = 0; i < count; i++) {
      let weight = exp((distances[0]! - distances[i]!) / temperatures[hottest]!);
      weights[i] = weight;
      // Each temperature is half the next: its weight is the square.
      for (let t = hottest, at = hottest * room + groups[i]!; t >= 0; t--, at -= room) {
        sums[t]! += weight;
        shares[at]! += weight;
        weight *= weight;
      }
    }
    for (let t = 0; t <= hottest; t++) this.#describe(t, groupCount);
  }

  /**
   * Adds the weight of each voter read last under a mixture of the temperatures.
   * @param count voters @param parts from place `first` on (J) the mixture's weights, all to be divided by `whole`
   * @param out what they are added to: that of voter i at `places[i]`, or where places is a number, at that number + i
   */
  addWeights(
    count: number,
    { parts, first, whole }: { parts: Float64Array; first: number; whole: number },
    { out, places }: { out: Float64Array; places: readonly number[] | number },
  ): void {
    const hottest = this.temperatures.length - 1;
    const factors = new Float64Array(hottest + 1);
    for (let t = 0; t <= hottest; t++) factors[t] = parts[first + t]! / whole / this.sums[t]!;
    for (let i = 0; i < count; i++) {
      let weight = this.#weights[i]!;
      let all = 0;
      for (let t = hottest; t >= 0; t--) {
        all += factors[t]! * weight;
        weight *= weight;
      }
      out[typeof places === 'number' ? places + i : places[i]!]! += all;
    }
  }

  #describe(t: number, groupCount: number): void {
    let most = 0;
    let entropy = 0;
    for (let at = t * this.#room; at < t * this.#room + groupCount; at++) {
      const share = (this.#shares[at]! /= this.sums[t]!);
      if (share > most) most = share;
      if (share > 0) entropy -= share * Math.log(share);
    }
    this.features[2 * t] = Math.log(most);
    this.features[2 * t + 1] = entropy;
  }
}
