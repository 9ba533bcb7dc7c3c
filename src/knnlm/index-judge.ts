/**
 * What an index is measured by: stored keys as queries, which may not find their own documents, and the error that misses
 * and inexact distances cause in the mixture's log-probability of what followed them.
 */
import type { Datastore } from '../datastore/datastore.ts';
import { MOST_QUERIES } from '../indexes/ivf/ivf-task.ts';
import type { IndexTrials } from '../indexes/ivf/tune-ivf.ts';
import { readKeys } from '../indexes/read-keys.ts';
import type { Neighbors } from '../indexes/vector-index.ts';
import type { IdRange } from '../math/vectors.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { retrievalError, valueLogFrequencies } from './retrieval-error.ts';
import { mergeRanges } from './retriever.ts';

/** Error allowed when none is named, in nats. */
export const MAX_ERROR = 0.005;
/** Queries that the error is measured on. */
export const QUERIES = 1024;
/** The same for lists that exceed the memory given: as many as share one pass over the file. */
export const QUERIES_ON_DISK = MOST_QUERIES;
/** A document with more than this share of all entries is not left out whole: there would be nothing left to find. */
const LARGE_DOCUMENT = 0.1;
/**
 * Settings beside the store's own: what tuned stores end with (docs/results), a temperature of a seventh of the spread from
 * the first distance to the last. A store may be tuned after it was indexed; until then these are all there is: the
 * defaults, λ = 0.25 and T = 1, fit no store, and at T = 1 the rounding of the nearest distances counts for more than lists.
 */
const TUNED = { lambda: 0.7, spreads: 1 / 7 };

/** @param queries at most. Errors: those of reading keys and values. */
export async function indexJudge(
  datastore: Datastore,
  queries = QUERIES,
): Promise<
  Pick<IndexTrials, 'queries' | 'exclude' | 'excludePerQuery' | 'k' | 'judge' | 'judgedBy'>
> {
  const held = holdOut(datastore, queries);
  const entries = Int32Array.from(held, ({ entry }) => entry);
  const targets = await datastore.values(entries);
  const frequencies = await valueLogFrequencies(datastore);
  const lmLogProbs = Float64Array.from(targets, (target) => frequencies[target]!);
  const own = datastore.settings?.source === 'default' ? null : datastore.settings;
  return {
    queries: await readKeys(datastore.keySources(), datastore.keyDim, entries),
    exclude: datastore.excludedRanges(),
    excludePerQuery: held.map(({ exclude }) => [exclude]),
    k: Math.min(own?.k ?? DEFAULT_SETTINGS.k, datastore.entries),
    judge: (found, truth) => {
      const typical = { lambda: TUNED.lambda, temperature: typicalTemperature(truth) };
      const settings = own ? [own, typical] : [typical];
      return retrievalError(found, truth, { datastore, targets, lmLogProbs, settings });
    },
    judgedBy: own ? "the store's and typical settings" : 'typical settings',
  };
}

interface HeldOut {
  entry: number;
  /** What it must not find. */
  exclude: IdRange;
}

/** Entries spread evenly over the documents that are not deleted, each with its document (or, of a very long one, its window). */
function holdOut(datastore: Datastore, most: number): HeldOut[] {
  const { entries, documents, header } = datastore;
  const deleted = mergeRanges(datastore.excludedRanges());
  const left = entries - deleted.reduce((sum, [start, end]) => sum + end - start, 0);
  const count = Math.min(most, left);
  return Array.from({ length: count }, (_, i) => {
    let entry = Math.floor(((i + 0.5) * left) / count);
    for (const [start, end] of deleted) if (entry >= start) entry += end - start;
    const { start, length } = documents.locate(entry).document;
    const exclude: IdRange =
      length <= LARGE_DOCUMENT * left
        ? [start, start + length]
        : [Math.max(start, entry - header.window), Math.min(start + length, entry + header.window)];
    return { entry, exclude };
  });
}

/** A share of the median spread of the distances; 1 when there is none. */
function typicalTemperature({ k, distances }: Neighbors): number {
  const spreads: number[] = [];
  for (let row = 0; row < distances.length; row += k) {
    const last = distances.subarray(row, row + k).findLast(Number.isFinite);
    if (last !== undefined) spreads.push(last - distances[row]!);
  }
  spreads.sort((a, b) => a - b);
  return (spreads[spreads.length >> 1] ?? 0) * TUNED.spreads || 1;
}
