/** How much the neighbors of a query count, all together and each: by λ and T, by a λ for each datastore, or by a gate. */
import { Gate, type Weighed } from './gate.ts';
import { neighborWeights } from './interpolate.ts';
import type { RetrievedRow } from './retriever.ts';
import type { ResolvedSettings, StoreLambda } from './types.ts';

export class Weigher {
  readonly #settings: ResolvedSettings;
  readonly #gate: Gate | undefined;

  constructor(settings: ResolvedSettings) {
    this.#settings = settings;
    this.#gate = settings.gate && new Gate(settings.gate, settings.k);
  }

  weigh(row: RetrievedRow): Weighed {
    if (this.#gate) return this.#gate.weigh(row);
    const { lambda, lambdas, temperature } = this.#settings;
    if (lambdas) return weighByStore(row, lambdas, temperature);
    return { lambda, weights: neighborWeights(row.distances, temperature) };
  }
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
