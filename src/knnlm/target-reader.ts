/** What a gate gives to one token, from grouped evidence: for reading a text again offline. */
import { expertCount } from '../datastore/gate-sizes.ts';
import type { GateParameters } from '../datastore/types.ts';
import { GateReader, type GroupedEvidence, gateShares, standardize } from './gate-reader.ts';

export class TargetReader {
  readonly #gate: GateParameters;
  readonly #reader: GateReader;
  readonly #weights: Float64Array;
  readonly #shares: Float64Array;

  /** @param voters most of one query, all sources together; their groups are numbered below it */
  constructor(gate: GateParameters, voters: number) {
    this.#gate = gate;
    this.#reader = new GateReader(gate, voters);
    this.#weights = new Float64Array(expertCount(gate));
    this.#shares = new Float64Array(expertCount(gate));
  }

  /** p / p_LM of a group's token. @param lm log p_LM */
  ratio(evidence: GroupedEvidence, group: number, lm: number): number {
    if (!this.#reader.read(evidence)) return 1;
    const { features, known, open } = this.#reader;
    standardize(features, known, this.#gate);
    gateShares(features, open, this.#gate.weights, this.#weights);
    this.#reader.shares(group, this.#shares);
    let ratio = this.#weights[0]!;
    for (let e = 1; e < this.#weights.length; e++)
      ratio += this.#weights[e]! * this.#shares[e]! * Math.exp(-lm);
    return ratio;
  }
}
