/**
 * What a gate sees of a query: its features, and the probability that each of its experts gives to a token. Shapes: F features,
 * E experts.
 */
import { expertCount, featureCount, type GateShape } from '../datastore/gate-sizes.ts';
import type { GateParameters } from '../datastore/types.ts';
import { type Voters, VoteSummary } from './vote-summary.ts';

/** Standardized features are cut here, so that nothing far from the training text is extrapolated. */
export const FEATURE_LIMIT = 4;

/** What is known of a query before its target, with tokens as group numbers. */
export interface GroupedEvidence {
  neighbors: Voters;
  /** Distances are how many tokens shorter a run is than the longest; that first. */
  runs: Voters & { longest: number };
  cached: Voters;
  best: number;
}

/** Reads the features of one query after another without allocating per query. Shapes: F features, E experts. */
export class GateReader {
  /** (F) of the query read last. */
  readonly features: Float64Array;
  /** (F) 0 where there is nothing to tell. */
  readonly known: Uint8Array;
  /** (E) 0 where a source has nothing to say. */
  readonly open: Uint8Array;
  readonly neighbors: VoteSummary;
  readonly runs: VoteSummary;
  readonly cached: VoteSummary;
  readonly #shape: GateShape;
  #at = 0;

  /** @param voters most of one query, all sources together; their groups are numbered below it */
  constructor(shape: GateShape, voters: number) {
    this.#shape = shape;
    this.features = new Float64Array(featureCount(shape));
    this.known = new Uint8Array(featureCount(shape));
    this.open = new Uint8Array(expertCount(shape));
    this.neighbors = new VoteSummary(shape.temperatures, voters);
    this.runs = new VoteSummary(shape.runs ?? [], voters);
    this.cached = new VoteSummary(shape.cache?.temperatures ?? [], voters);
  }

  /** False when no source says anything: the model is alone. */
  read({ neighbors, runs, cached, best }: GroupedEvidence): boolean {
    const { ranks, runs: decays, cache, usesModel } = this.#shape;
    this.#at = 0;
    this.known.fill(0);
    const found = neighbors.count > 0;
    const followed = decays !== undefined && runs.count > 0;
    const remembered = cache !== undefined && cached.count > 0;
    if (found) this.neighbors.read(neighbors);
    this.#distances(neighbors, ranks);
    this.#votes(this.neighbors, found);
    if (usesModel) this.#put(best);
    if (decays) {
      if (followed) this.runs.read(runs);
      this.#votes(this.runs, followed);
      this.#put(Math.log1p(runs.count), followed);
      this.#put(Math.log1p(runs.longest), followed);
      this.#put(followed ? 1 : 0);
    }
    if (cache) {
      if (remembered) this.cached.read(cached);
      this.#distances(cached, cache.ranks);
      this.#votes(this.cached, remembered);
      this.#put(remembered ? 1 : 0);
    }
    this.#openExperts(found, followed, remembered);
    return found || followed || remembered;
  }

  /** p of a group under each expert but the model. @param out (E) from 1 on */
  shares(group: number, out: Float64Array): void {
    let e = 1;
    for (const summary of [this.neighbors, this.runs, this.cached]) {
      for (let t = 0; t < summary.temperatures.length; t++, e++)
        out[e] = group >= 0 && this.open[e] ? summary.share(t, group) : 0;
    }
  }

  #openExperts(found: boolean, followed: boolean, remembered: boolean): void {
    const { temperatures, runs = [] } = this.#shape;
    const runsAt = 1 + temperatures.length;
    const cacheAt = runsAt + runs.length;
    this.open[0] = 1;
    this.open.fill(found ? 1 : 0, 1, runsAt);
    this.open.fill(followed ? 1 : 0, runsAt, cacheAt);
    this.open.fill(remembered ? 1 : 0, cacheAt);
  }

  #put(value: number, isKnown = true): void {
    this.known[this.#at] = isKnown ? 1 : 0;
    this.features[this.#at++] = isKnown ? value : 0;
  }

  #distances({ distances, count }: Voters, ranks: readonly number[]): void {
    for (const rank of ranks) this.#put(distances[Math.min(rank, count) - 1]!, count > 0);
  }

  #votes({ features }: VoteSummary, isKnown: boolean): void {
    for (let i = 0; i < features.length; i++) this.#put(features[i]!, isKnown);
  }
}

/** Standardizes in place; of what is not known the mean is taken. */
export function standardize(
  features: Float64Array,
  known: ArrayLike<number>,
  { means, deviations }: Pick<GateParameters, 'means' | 'deviations'>,
): void {
  for (let f = 0; f < features.length; f++) {
    const z = known[f] ? (features[f]! - means[f]!) / deviations[f]! : 0;
    features[f] = Math.max(-FEATURE_LIMIT, Math.min(FEATURE_LIMIT, z));
  }
}

/** softmax(W φ + b) over the experts that are open: (E). @param weights rows of F weights and a bias */
export function gateShares(
  features: ArrayLike<number>,
  open: ArrayLike<number>,
  weights: readonly ArrayLike<number>[],
  out: Float64Array,
): void {
  let most = Number.NEGATIVE_INFINITY;
  for (let e = 0; e < weights.length; e++) {
    if (!open[e]) continue;
    const row = weights[e]!;
    let sum = row[features.length]!;
    for (let f = 0; f < features.length; f++) sum += row[f]! * features[f]!;
    out[e] = sum;
    if (sum > most) most = sum;
  }
  let all = 0;
  for (let e = 0; e < weights.length; e++) all += out[e] = open[e] ? Math.exp(out[e]! - most) : 0;
  for (let e = 0; e < weights.length; e++) out[e]! /= all;
}
