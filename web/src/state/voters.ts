/** Which documents voted for a token. Shapes: k neighbors. */
import type { RawNeighbors } from '../../../src/server/wire.ts';

export interface Voter {
  document: string;
  /** Of the weight of all that voted for the token, 0 to 1. */
  share: number;
  /** Its nearest neighbor that did: an index into the k. */
  nearest: number;
}

/** Largest share first. @param weights (k) shares of the vote, 0 for those not used */
export function votersOf(raw: RawNeighbors, weights: Float64Array, token: number): Voter[] {
  const voters = new Map<number, Voter>();
  let all = 0;
  for (let i = 0; i < weights.length; i++) {
    if (raw.targets[i] !== token || weights[i] === 0) continue;
    all += weights[i]!;
    const document = raw.documents[i]!;
    const voter = voters.get(document);
    if (voter) voter.share += weights[i]!;
    else {
      voters.set(document, {
        document: raw.document_ids[document]!,
        share: weights[i]!,
        nearest: i,
      });
    }
  }
  return [...voters.values()]
    .map((voter) => ({ ...voter, share: voter.share / all }))
    .sort((a, b) => b.share - a.share);
}
