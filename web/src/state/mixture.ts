/**
 * The mixture of kNN-LM computed again in the browser from neighbors that were retrieved once, so that a slider needs
 * no server: w_i = softmax(-d_i / T) over the first k that are not left out, p_kNN(y) = Σ w_i [y_i = y], and
 * p(y) = λ p_kNN(y) + (1 - λ) p_LM(y); with a gate a p_kNN per temperature, by the gate's weights.
 * Shapes: k neighbors, C candidates.
 */
import type { RawNeighbors } from '../../../src/server/wire.ts';

export interface MixtureSettings {
  k: number;
  lambda: number;
  temperature: number;
  /** The store's gate takes the place of lambda and temperature. */
  gate: boolean;
}

export interface Mixed {
  /** (k) shares of the vote, 0 for those not used. */
  weights: Float64Array;
  /** (C) */
  pLm: Float64Array;
  pKnn: Float64Array;
  p: Float64Array;
  /** (C) candidates, most probable first. */
  order: Int32Array;
  /** Weight of the neighbors: λ, or what the gate gives them. 0 when none is left. */
  lambda: number;
  /** Neighbors that voted. */
  used: number;
}

export class Mixer {
  readonly raw: RawNeighbors;
  readonly pLm: Float64Array;
  /** (k) candidate that each neighbor votes for. */
  readonly #votes: Int32Array;
  readonly #distances: Float64Array;
  readonly #candidateOf: ReadonlyMap<number, number>;

  /** @param also a token whose log p_LM is known though it is neither among the likeliest nor anyone's target */
  constructor(told: RawNeighbors, also?: RawNeighbors['candidates'][number]) {
    const isMissing = also && told.candidates.every(({ id }) => id !== also.id);
    const raw = isMissing ? { ...told, candidates: [...told.candidates, also] } : told;
    this.raw = raw;
    this.pLm = Float64Array.from(raw.candidates, ({ log_p_lm }) => Math.exp(log_p_lm));
    this.#candidateOf = new Map(raw.candidates.map(({ id }, at) => [id, at]));
    this.#votes = Int32Array.from(raw.targets, (id) => this.#candidateOf.get(id) ?? -1);
    this.#distances = Float64Array.from(raw.distances);
  }

  /** Where a token id is among the candidates, -1 when it is none. */
  candidate(id: number): number {
    return this.#candidateOf.get(id) ?? -1;
  }

  /** @param isLeftOut (documents) 1 where a document's neighbors do not vote */
  mix({ k, lambda, temperature, gate }: MixtureSettings, isLeftOut?: Uint8Array): Mixed {
    const own = this.raw.gate;
    const shares = gate && own ? own.weights : [lambda];
    const temperatures = gate && own ? own.temperatures : [temperature];
    const weights = new Float64Array(this.#distances.length);
    const used = this.#chosen(k, isLeftOut);
    const given = used.length === 0 ? 0 : shares.reduce((sum, share) => sum + share, 0);
    if (given > 0) {
      for (let t = 0; t < shares.length; t++) {
        this.#addSoftmax(used, temperatures[t]!, shares[t]! / given, weights);
      }
    } else if (used.length > 0) {
      this.#addSoftmax(used, temperatures[0]!, 1, weights);
    }
    const pKnn = new Float64Array(this.pLm.length);
    for (const i of used) if (this.#votes[i]! >= 0) pKnn[this.#votes[i]!]! += weights[i]!;
    const p = new Float64Array(this.pLm.length);
    for (let c = 0; c < p.length; c++) p[c] = given * pKnn[c]! + (1 - given) * this.pLm[c]!;
    const order = Int32Array.from(p.keys()).sort((a, b) => p[b]! - p[a]!);
    return { weights, pLm: this.pLm, pKnn, p, order, lambda: given, used: used.length };
  }

  /** The first k neighbors of documents that are not left out. */
  #chosen(k: number, isLeftOut: Uint8Array | undefined): number[] {
    const chosen: number[] = [];
    for (let i = 0; i < this.#distances.length && chosen.length < k; i++) {
      if (!isLeftOut?.[this.raw.documents[i]!]) chosen.push(i);
    }
    return chosen;
  }

  #addSoftmax(
    used: readonly number[],
    temperature: number,
    share: number,
    out: Float64Array,
  ): void {
    const nearest = this.#distances[used[0]!]!;
    let sum = 0;
    for (const i of used) sum += Math.exp((nearest - this.#distances[i]!) / temperature);
    for (const i of used) {
      out[i]! += (share * Math.exp((nearest - this.#distances[i]!) / temperature)) / sum;
    }
  }
}

/** Marks the documents that are left out. */
export function leftOutMask(raw: RawNeighbors, excluded: readonly string[]): Uint8Array {
  const names = new Set(excluded);
  return Uint8Array.from(raw.document_ids, (id) => (names.has(id) ? 1 : 0));
}

/**
 * Share of a token's probability that came from the neighbors: λ p_kNN / p. Holds for a gate too, whose λ is not told
 * with every token, since λ = (p - p_LM) / (p_kNN - p_LM).
 */
export function memoryShare({
  p,
  p_lm,
  p_knn,
}: {
  p: number;
  p_lm: number;
  p_knn: number;
}): number {
  if (p <= 0 || Math.abs(p_knn - p_lm) < 1e-12) return 0;
  const lambda = Math.min(1, Math.max(0, (p - p_lm) / (p_knn - p_lm)));
  return Math.min(1, (lambda * p_knn) / p);
}
