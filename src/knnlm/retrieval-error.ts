/**
 * What an approximate search costs, in nats: how far the mixture's log-probability of the true token moves when neighbors
 * were missed or their distances are not exact.
 *
 * No model is at hand when an index is built. In its place stand the frequencies of the stored values, which give most
 * tokens less probability than a model would: the neighbors then matter more, so the error is overestimated.
 */
import type { Datastore } from '../datastore/datastore.ts';
import type { RetrievalSettings } from '../datastore/types.ts';
import type { Judgment } from '../indexes/ivf/tune-ivf.ts';
import type { Neighbors } from '../indexes/vector-index.ts';
import { Breather } from '../math/breather.ts';
import { interpolate, knnLogProbOf } from './interpolate.ts';

/** Values counted in one go. */
const SLICE = 1 << 20;

/** (V) natural-log frequency of each token among the values, one added to every count. */
export async function valueLogFrequencies(datastore: Datastore): Promise<Float64Array> {
  const counts = new Float64Array(datastore.header.vocabSize).fill(1);
  const { entries } = datastore;
  const breather = new Breather();
  for (let start = 0; start < entries; start += SLICE) {
    const values = await datastore.valueRange(start, Math.min(entries, start + SLICE));
    for (const value of values) counts[value]!++;
    await breather.pause();
  }
  const total = Math.log(entries + counts.length);
  return counts.map((count) => Math.log(count) - total);
}

export interface RetrievalErrorOptions {
  datastore: Datastore;
  /** (q) the true tokens. */
  targets: Uint32Array;
  /** (q) their natural-log probability without neighbors. */
  lmLogProbs: Float64Array;
  /** λ and T to judge by: the error is that of the worst. */
  settings: readonly Pick<RetrievalSettings, 'lambda' | 'temperature'>[];
}

/** Mean |Δ log p| of the mixture between two searches for the same queries, and how sure it is. */
export async function retrievalError(
  found: Neighbors,
  truth: Neighbors,
  { datastore, targets, lmLogProbs, settings }: RetrievalErrorOptions,
): Promise<Judgment> {
  const rows = await Promise.all(
    [found, truth].map(async ({ ids, distances }) => ({
      distances,
      values: await datastore.values(ids.map((id) => Math.max(id, 0))),
    })),
  );
  const { k } = truth;
  const sums = settings.map(() => 0);
  const squares = settings.map(() => 0);
  const breather = new Breather();
  for (const [q, target] of targets.entries()) {
    for (const [s, { lambda, temperature }] of settings.entries()) {
      const [a, b] = rows.map(({ distances, values }) => {
        const row = {
          distances: distances.subarray(q * k, (q + 1) * k),
          values: values.subarray(q * k, (q + 1) * k),
        };
        return interpolate(lmLogProbs[q]!, knnLogProbOf(target, row, temperature), lambda);
      });
      const moved = Math.abs(a! - b!);
      sums[s]! += moved;
      squares[s]! += moved * moved;
    }
    await breather.pause();
  }
  const count = Math.max(1, targets.length);
  const errors = sums.map((sum) => sum / count);
  const error = Math.max(...errors);
  const variance = squares[errors.indexOf(error)]! / count - error ** 2;
  return { error, standardError: Math.sqrt(Math.max(0, variance) / count) };
}
