/**
 * A gate in place of one λ and one T: for every query what was found says itself how far it can be trusted.
 *
 *     p(y | x) = g_0(x) p_LM(y | x) + Σ_j g_j(x) p_j(y | x)        g = softmax(W φ(x) + b)
 *
 * The p_j are the votes of the neighbors at several temperatures; those of the neighbors that have gone along with the text
 * so far, by how long they have (`pointers.ts`); and those of the text's own past (`continuous-cache.ts`). The features φ are
 * what retrieval gives anyway: distances at several ranks and, for each p_j, its largest probability and its entropy (where
 * voters agree they are right more often), and the model's own largest probability. It is a multinomial logistic
 * regression of some hundred numbers, fitted by `train-gate.ts`. A source that has nothing to say takes no part: its
 * weight goes to the others. Drozdov et al. (2022, "You can't pick your neighbors, or can you?") chose λ by bins of the
 * nearest distance alone, one of these features.
 */
import type { GateParameters } from '../datastore/types.ts';
import { EvidenceGroups } from './evidence-groups.ts';
import { GateReader, gateShares, standardize } from './gate-reader.ts';
import type { NeighborRow } from './interpolate.ts';
import type { TracedRow } from './pointers.ts';

/** What is known of a query before its target. Shapes: k neighbors, c cached states. */
export interface Evidence {
  /** (k) nearest first, padding last. */
  row: TracedRow;
  /** (c) of the text read so far, nearest first. */
  cached?: NeighborRow;
  /** The largest log-probability that the model gives to any token. */
  best?: number;
}

/** λ and the voters' shares of the vote for one query. */
export interface Weighed {
  lambda: number;
  /** (k + c) neighbors, then cached states: sum to 1, padding 0; all 0 when nothing was found. */
  weights: Float64Array;
}

/** Gates that are ready: one serves all texts, since each query is read and weighed at once. */
const ready = new WeakMap<GateParameters, { gate: Gate; voters: number }>();

/** @param voters most of one query, all sources together */
export function gateFor(parameters: GateParameters, voters: number): Gate {
  const known = ready.get(parameters);
  if (known && known.voters >= voters) return known.gate;
  const gate = new Gate(parameters, voters);
  ready.set(parameters, { gate, voters });
  return gate;
}

/** A gate ready for queries. */
export class Gate {
  readonly #parameters: GateParameters;
  readonly #reader: GateReader;
  readonly #groups = new EvidenceGroups();
  readonly #shares: Float64Array;

  /** @param voters most of one query, all sources together */
  constructor(parameters: GateParameters, voters: number) {
    this.#parameters = parameters;
    this.#reader = new GateReader(parameters, voters);
    this.#shares = new Float64Array(parameters.weights.length);
  }

  /** Whether a cache is among what it weighs. */
  get knowsCache(): boolean {
    return this.#parameters.cache !== undefined;
  }

  /** The model's share and those of p_kNN at each temperature, for one query; without neighbors the model has all. */
  shares(evidence: Evidence): { lm: number; temperatures: number[]; weights: number[] } {
    const temperatures = [...this.#parameters.temperatures];
    if (this.weigh(evidence).lambda === 0)
      return { lm: 1, temperatures, weights: temperatures.map(() => 0) };
    const [lm, ...weights] = this.#shares;
    return { lm: lm!, temperatures, weights: weights.slice(0, temperatures.length) };
  }

  weigh(evidence: Evidence): Weighed {
    const k = evidence.row.values.length;
    const weights = new Float64Array(k + (evidence.cached?.values.length ?? 0));
    const grouped = this.#groups.read(evidence);
    const reader = this.#reader;
    if (!reader.read(grouped)) return { lambda: 0, weights };
    const { features, known, open, neighbors, runs, cached } = reader;
    standardize(features, known, this.#parameters);
    gateShares(features, open, this.#parameters.weights, this.#shares);
    const lambda = 1 - this.#shares[0]!;
    if (!(lambda > 0)) return { lambda: 0, weights };
    const whole = { parts: this.#shares, whole: lambda };
    const runsAt = 1 + neighbors.temperatures.length;
    const cacheAt = runsAt + runs.temperatures.length;
    const { places } = this.#groups;
    if (open[1])
      neighbors.addWeights(
        grouped.neighbors.count,
        { ...whole, first: 1 },
        { out: weights, places: 0 },
      );
    if (open[runsAt])
      runs.addWeights(grouped.runs.count, { ...whole, first: runsAt }, { out: weights, places });
    if (open[cacheAt])
      cached.addWeights(
        grouped.cached.count,
        { ...whole, first: cacheAt },
        { out: weights, places: k },
      );
    return { lambda, weights };
  }
}
