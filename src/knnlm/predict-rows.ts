/** States of several texts side by side, such as beams, each mixed with what one search finds for it. Nothing of their past is remembered. */
import type { ReadStates } from '../model/language-model.ts';
import { mix } from './interpolate.ts';
import { Lane, Recaller, type RecallerOptions } from './recall.ts';
import { neighborRow, type Retriever } from './retriever.ts';
import { largestOf, type Prediction } from './text-memory.ts';
import { NO_VOTES, votesOf } from './votes.ts';
import { searchedAlone, Weigher } from './weigh.ts';

/** @param rows B @returns (B) */
export async function predictRows(
  { keys, logProbs }: ReadStates,
  rows: number,
  retriever: Retriever,
  options: RecallerOptions,
): Promise<Prediction[]> {
  const size = logProbs.length / rows;
  const recaller = new Recaller(retriever, options);
  const alone = Array.from({ length: rows }, (_, row): Prediction => {
    const lm = logProbs.subarray(row * size, (row + 1) * size);
    return {
      ...{ logProbs: lm, lm, best: largestOf(lm), searched: false },
      ...{ votes: NO_VOTES, voters: NOBODY, weights: new Float64Array(0) },
    };
  });
  if (!recaller.needsIndex) return alone;
  const lane = new Lane();
  const found = await recaller.search(
    keys,
    alone.map(() => lane),
  );
  if ('failed' in found) return alone.map((own) => ({ ...own, failed: found.failed }));
  const weigher = new Weigher(options.settings);
  return alone.map((own, i) => {
    const voters = neighborRow(found, i);
    const { lambda, weights } = weigher.weigh({ ...searchedAlone(voters), best: own.best });
    const votes = votesOf(voters, weights);
    const logProbs = mix(own.lm, votes, lambda);
    return { ...own, logProbs, votes, voters, weights, searched: true };
  });
}

const NOBODY: Prediction['voters'] = {
  ids: new Int32Array(0),
  distances: new Float32Array(0),
  values: new Uint32Array(0),
};
