/**
 * How much what was found for a query counts, all together and each voter: by λ and T, by a λ for each datastore, or by a gate.
 * A cache of which no gate knows is mixed in on top:
 *
 *     p(y | x) = λ_c p_cache(y | x) + (1 - λ_c) p_without(y | x)
 */

import { CACHE_NEIGHBORS } from './continuous-cache.ts';
import { type Evidence, type Gate, gateFor, type Weighed } from './gate.ts';
import { type NeighborRow, neighborWeights } from './interpolate.ts';
import { MOST_POINTERS, searchedRow, type TracedRow, timesFound } from './pointers.ts';
import type { RetrievedRow } from './retriever.ts';
import type { CacheSettings, ResolvedSettings, StoreLambda } from './types.ts';

/** What is known of a query, and whether the index was asked. */
export interface Recollection extends Evidence {
  searched: boolean;
  /** What the search found; nothing where there was none. */
  found: RetrievedRow;
  /** Why the index could not be searched, where the model was to go on alone. */
  failed?: string;
}

/** A search's result and nothing else. */
export const searchedAlone = (found: RetrievedRow): Recollection => ({
  row: searchedRow(found),
  found,
  searched: true,
});

export class Weigher {
  readonly #settings: ResolvedSettings;
  readonly #gate: Gate | undefined;
  /** Where the index was not asked. */
  readonly #skipGate: Gate | undefined;

  constructor(settings: ResolvedSettings) {
    this.#settings = settings;
    const { gate, skip, k, lambdas } = settings;
    const voters = k * (lambdas?.length ?? 1) + MOST_POINTERS + CACHE_NEIGHBORS;
    this.#gate = gate && gateFor(gate, voters);
    this.#skipGate = gate && skip && gateFor(skip.parameters.gate, voters);
  }

  /** Weights of the neighbors, then of the cached states. */
  weigh(recollection: Recollection): Weighed {
    const gate = recollection.searched ? this.#gate : (this.#skipGate ?? this.#gate);
    const { row, cached } = recollection;
    if (!cached || gate?.knowsCache) return gate ? gate.weigh(recollection) : this.#plain(row);
    const neighbors = gate ? gate.weigh({ ...recollection, cached: undefined }) : this.#plain(row);
    return withCache(neighbors, cached, this.#settings.cache!);
  }

  #plain(row: TracedRow): Weighed {
    const { lambda, lambdas, temperature, pointers } = this.#settings;
    if (lambdas) return weighByStore(row, lambdas, temperature);
    const weights = neighborWeights(row.distances, temperature);
    if (pointers) repeatVotes(weights, row.histories);
    const isEmpty = !(row.distances[0]! < Number.POSITIVE_INFINITY);
    return { lambda: isEmpty ? 0 : lambda, weights };
  }
}

/**
 * A neighbor votes once for every search that found it on its way here: RetoMaton puts what is pointed at beside what is found,
 * double or not, and points from there.
 */
function repeatVotes(weights: Float64Array, histories: Uint32Array): void {
  let sum = 0;
  for (let i = 0; i < weights.length; i++) sum += weights[i]! *= timesFound(histories[i]!);
  if (sum > 0) for (let i = 0; i < weights.length; i++) weights[i]! /= sum;
}

/** Everything that votes as one row: neighbors, then cached states, whose id is -1. */
export function votersOf({ row, cached }: Evidence): RetrievedRow {
  if (!cached || cached.values.length === 0) return row;
  const k = row.values.length;
  const count = k + cached.values.length;
  const ids = new Int32Array(count).fill(-1);
  const distances = new Float32Array(count);
  const values = new Uint32Array(count);
  ids.set(row.ids);
  distances.set(row.distances);
  distances.set(cached.distances, k);
  values.set(row.values);
  values.set(cached.values, k);
  return { ids, distances, values };
}

/** p of one token among all voters. */
export function votedFor(token: number, { row, cached }: Evidence, weights: Float64Array): number {
  const k = row.values.length;
  let voted = 0;
  for (let i = 0; i < k; i++) if (row.values[i] === token) voted += weights[i]!;
  if (!cached) return voted;
  for (let i = 0; i < cached.values.length; i++)
    if (cached.values[i] === token) voted += weights[k + i]!;
  return voted;
}

/** An empty cache leaves all as it is. */
function withCache(
  { lambda, weights }: Weighed,
  cached: NeighborRow,
  settings: CacheSettings,
): Weighed {
  const all = new Float64Array(weights.length + cached.values.length);
  if (cached.values.length === 0 || settings.lambda === 0) {
    all.set(weights);
    return { lambda, weights: all };
  }
  const remembered = neighborWeights(cached.distances, settings.temperature);
  const total = settings.lambda + (1 - settings.lambda) * lambda;
  for (let i = 0; i < weights.length; i++)
    all[i] = ((1 - settings.lambda) * lambda * weights[i]!) / total;
  for (let i = 0; i < remembered.length; i++)
    all[weights.length + i] = (settings.lambda * remembered[i]!) / total;
  return { lambda: total, weights: all };
}

/** Each datastore's softmax of its own, by its λ. The λ of one that gives no neighbor goes to the model. */
function weighByStore(
  { ids, distances }: RetrievedRow,
  lambdas: readonly StoreLambda[],
  temperature: number,
): Weighed {
  const weights = new Float64Array(distances.length);
  const own = new Float32Array(distances.length);
  let total = 0;
  for (const { lambda, range } of lambdas) {
    let found = false;
    for (let i = 0; i < own.length; i++) {
      const isOwn = ids[i]! >= range[0] && ids[i]! < range[1];
      own[i] = isOwn ? distances[i]! : Number.POSITIVE_INFINITY;
      found ||= isOwn;
    }
    if (!found || lambda === 0) continue;
    const shares = neighborWeights(own, temperature);
    for (let i = 0; i < own.length; i++) weights[i]! += lambda * shares[i]!;
    total += lambda;
  }
  if (total > 0) for (let i = 0; i < weights.length; i++) weights[i]! /= total;
  return { lambda: total > 1 - 1e-9 ? 1 : total, weights };
}
