/**
 * A gate in place of one λ and one T: for every query the neighbors themselves say how far they can be trusted.
 *
 *     p(y | x) = g_0(x) p_LM(y | x) + Σ_j g_j(x) p_kNN(y | x; T_j)        g = softmax(W φ(x) + b)
 *
 * The features φ are what retrieval gives anyway: distances at several ranks and, at each temperature, the largest
 * probability and the entropy of p_kNN (where the neighbors agree they are right more often). It is a multinomial
 * logistic regression of some hundred numbers, fitted by `train-gate.ts`. Drozdov et al. (2022, "You can't pick your
 * neighbors, or can you?") chose λ by bins of the nearest distance alone, one of these features.
 */
import type { GateParameters } from '../datastore/types.ts';
import type { NeighborRow } from './interpolate.ts';
import type { ResolvedSettings, UsedSettings } from './types.ts';

/** Standardized features are cut here, so that nothing far from the training text is extrapolated. */
const FEATURE_LIMIT = 4;

export interface GateShape {
  /** (J) ascending, each twice the one before. */
  temperatures: readonly number[];
  /** (R) ranks, from 1, whose distances are features. */
  ranks: readonly number[];
}

/** F: one distance per rank, two numbers per temperature. */
export function featureCount({ temperatures, ranks }: GateShape): number {
  return ranks.length + 2 * temperatures.length;
}

/** Neighbors with equal values share a group; groups are numbered in the order of their nearest member. */
export function groupByValue(values: ArrayLike<number>, count: number, out: Uint16Array): number {
  const groups = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    let group = groups.get(values[i]!);
    if (group === undefined) groups.set(values[i]!, (group = groups.size));
    out[i] = group;
  }
  return groups.size;
}

/** Computes the features of one query after another without allocating per query. Shapes: k neighbors, J temperatures. */
export class GateFeatures {
  readonly shape: GateShape;
  /** (F) of the query read last. */
  readonly features: Float64Array;
  /** (J, k) p_kNN at each temperature of each group. */
  readonly shares: Float64Array;
  /** (J) Σ exp(-(d - d_1) / T_j): what the weights are divided by. */
  readonly sums: Float64Array;
  /** (k) exp(-(d - d_1) / T) at the hottest temperature. */
  readonly weights: Float64Array;
  readonly #k: number;

  constructor(shape: GateShape, k: number) {
    this.shape = shape;
    this.features = new Float64Array(featureCount(shape));
    this.shares = new Float64Array(shape.temperatures.length * k);
    this.sums = new Float64Array(shape.temperatures.length);
    this.weights = new Float64Array(k);
    this.#k = k;
  }

  /**
   * @param distances (k) ascending, at least one finite
   * @param groups (k) from `groupByValue`
   * @param count neighbors before the padding, 1 or more
   */
  read(distances: ArrayLike<number>, groups: Uint16Array, count: number): void {
    const { temperatures, ranks } = this.shape;
    const hottest = temperatures.length - 1;
    const nearest = distances[0]!;
    // Groups are numbered in order of appearance, so the last new number tells how many there are.
    let groupCount = 0;
    for (let i = 0; i < count; i++) if (groups[i]! >= groupCount) groupCount = groups[i]! + 1;
    const { shares, sums, weights } = this;
    const k = this.#k;
    for (let t = 0; t <= hottest; t++) shares.fill(0, t * k, t * k + groupCount);
    sums.fill(0);
    for (let i = 0; i < count; i++) {
      let weight = Math.exp((nearest - distances[i]!) / temperatures[hottest]!);
      weights[i] = weight;
      // Each temperature is half the next: its weight is the square.
      for (let t = hottest, at = hottest * k + groups[i]!; t >= 0; t--, at -= k) {
        sums[t]! += weight;
        shares[at]! += weight;
        weight *= weight;
      }
    }
    let f = 0;
    for (const rank of ranks) this.features[f++] = distances[Math.min(rank, count) - 1]!;
    for (let t = 0; t <= hottest; t++) {
      let most = 0;
      let entropy = 0;
      for (let at = t * k; at < t * k + groupCount; at++) {
        const share = (shares[at]! /= sums[t]!);
        if (share > most) most = share;
        if (share > 0) entropy -= share * Math.log(share);
      }
      this.features[f++] = Math.log(most);
      this.features[f++] = entropy;
    }
  }
}

/** Standardizes in place. */
export function standardize(
  features: Float64Array,
  { means, deviations }: Pick<GateParameters, 'means' | 'deviations'>,
): void {
  for (let f = 0; f < features.length; f++) {
    const z = (features[f]! - means[f]!) / deviations[f]!;
    features[f] = Math.max(-FEATURE_LIMIT, Math.min(FEATURE_LIMIT, z));
  }
}

/** softmax(W φ + b): (J + 1), the model first. @param weights rows of F weights and a bias */
export function gateShares(
  features: ArrayLike<number>,
  weights: readonly ArrayLike<number>[],
  out: Float64Array,
): void {
  let most = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < weights.length; j++) {
    const row = weights[j]!;
    let sum = row[features.length]!;
    for (let f = 0; f < features.length; f++) sum += row[f]! * features[f]!;
    out[j] = sum;
    if (sum > most) most = sum;
  }
  let all = 0;
  for (let j = 0; j < weights.length; j++) all += out[j] = Math.exp(out[j]! - most);
  for (let j = 0; j < weights.length; j++) out[j]! /= all;
}

/** λ and the neighbors' shares of the vote for one query. */
export interface Weighed {
  lambda: number;
  /** (k) sum to 1, padding 0; all 0 when nothing was found. */
  weights: Float64Array;
}

/** What a result tells of the settings: not the gate's numbers, only that there was one. */
export function usedSettings({
  k,
  lambda,
  temperature,
  gate,
  stores,
  lambdas,
}: ResolvedSettings): UsedSettings {
  return {
    k,
    lambda,
    temperature,
    ...(gate && { gate: true as const }),
    ...(stores && { stores }),
    ...(lambdas && {
      lambdas: Object.fromEntries(lambdas.map(({ name, lambda }) => [name, lambda])),
    }),
  };
}

/** A gate ready for queries. */
export class Gate {
  readonly #parameters: GateParameters;
  readonly #features: GateFeatures;
  readonly #shares: Float64Array;
  readonly #groups: Uint16Array;

  /** @param k most neighbors a row may have */
  constructor(parameters: GateParameters, k: number) {
    this.#parameters = parameters;
    this.#features = new GateFeatures(parameters, k);
    this.#shares = new Float64Array(parameters.weights.length);
    this.#groups = new Uint16Array(k);
  }

  /** The model's share and those of p_kNN at each temperature, for one query; without neighbors the model has all. */
  shares(row: NeighborRow): { lm: number; temperatures: number[]; weights: number[] } {
    const temperatures = [...this.#parameters.temperatures];
    if (this.weigh(row).lambda === 0)
      return { lm: 1, temperatures, weights: temperatures.map(() => 0) };
    const [lm, ...weights] = this.#shares;
    return { lm: lm!, temperatures, weights };
  }

  weigh({ distances, values }: NeighborRow): Weighed {
    const weights = new Float64Array(distances.length);
    let count = distances.length;
    while (count > 0 && distances[count - 1] === Number.POSITIVE_INFINITY) count--;
    if (count === 0) return { lambda: 0, weights };
    const { temperatures } = this.#parameters;
    groupByValue(values, count, this.#groups);
    this.#features.read(distances, this.#groups, count);
    standardize(this.#features.features, this.#parameters);
    gateShares(this.#features.features, this.#parameters.weights, this.#shares);
    const lambda = 1 - this.#shares[0]!;
    const hottest = temperatures.length - 1;
    const { sums, weights: hottestWeights } = this.#features;
    const factors = sums.map((sum, t) => this.#shares[t + 1]! / lambda / sum);
    for (let i = 0; i < count; i++) {
      let weight = hottestWeights[i]!;
      let mixed = 0;
      for (let t = hottest; t >= 0; t--) {
        mixed += factors[t]! * weight;
        weight *= weight;
      }
      weights[i] = mixed;
    }
    return { lambda, weights };
  }
}
