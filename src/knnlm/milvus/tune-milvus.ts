/**
 * How a collection is searched: with the quickest setting whose errors cost less than was asked for, measured against exact
 * search of the same keys here, as for a local index.
 */
import type { Datastore } from '../../datastore/datastore.ts';
import { FlatIndex } from '../../indexes/flat-index.ts';
import { type IndexTrials, recallOf } from '../../indexes/ivf/tune-ivf.ts';
import type { MilvusHeader, MilvusSettings } from '../../indexes/milvus/milvus-header.ts';
import { MilvusIndex } from '../../indexes/milvus/milvus-index.ts';
import { settingsLadder } from '../../indexes/milvus/milvus-plan.ts';
import type { Neighbors } from '../../indexes/vector-index.ts';
import { indexJudge, MAX_ERROR } from '../index-judge.ts';
import type { MilvusStoreRequest, MilvusTrial } from './types.ts';

const QUERIES = 256;
/** Of an exact index only the rounding is to be seen. */
const QUERIES_OF_EXACT = 64;
/** Codes of larger stores are not read into memory for the truth's sake: there the most exact setting stands for it. */
const MOST_CODE_BYTES = 2 * 2 ** 30;

export async function tuneMilvus(
  datastore: Datastore,
  header: MilvusHeader,
  { maxError = MAX_ERROR, threads, memoryBytes, access, onProgress, signal }: MilvusStoreRequest,
): Promise<{
  settings: MilvusSettings;
  trials: MilvusTrial[];
  evidence: Record<string, unknown>;
}> {
  const sources = datastore.keySources();
  const measure = await indexJudge(
    datastore,
    header.index!.type === 'FLAT' ? QUERIES_OF_EXACT : QUERIES,
  );
  const { queries, k, exclude, excludePerQuery = [] } = measure;
  const settings = [...settingsLadder(header.index!, k)];
  const index = new MilvusIndex({ header, sources, threads, access });
  try {
    const isSmall = datastore.entries * (datastore.keyDim + 8) <= MOST_CODE_BYTES;
    const search = (setting: MilvusSettings): Promise<Neighbors> =>
      index.search(queries, { k, exclude, excludePerQuery, signal, ...setting });
    const truth = isSmall
      ? await searchHere(datastore, measure, { threads, memoryBytes, signal })
      : await search({ ...settings.at(-1)!, rerank: 1.25 });
    const trials: MilvusTrial[] = [];
    for (const setting of settings) {
      const found = await search(setting);
      const recall = await recallOf(found, truth);
      trials.push({ ...setting, recall, ...(await measure.judge(found, truth)) });
      const done = trials.length * excludePerQuery.length;
      onProgress?.({ phase: 'tuning', done, unit: 'entries' });
      if (trials.at(-1)!.error <= maxError) break;
    }
    const { recall, error, standardError, ...chosen } = trials.at(-1)!;
    const evidence = {
      entries: datastore.entries,
      queries: excludePerQuery.length,
      truth: isSmall ? 'exact search here' : "the server's most exact setting",
      k,
      maxError,
      error,
      standardError,
      recall,
      judgedBy: measure.judgedBy,
    };
    return { settings: chosen, trials, evidence };
  } finally {
    await index.close();
  }
}

async function searchHere(
  datastore: Datastore,
  {
    queries,
    k,
    exclude,
    excludePerQuery,
  }: Pick<IndexTrials, 'queries' | 'k' | 'exclude' | 'excludePerQuery'>,
  options: { threads?: number; memoryBytes?: number; signal?: AbortSignal },
): Promise<Neighbors> {
  const sources = datastore.keySources();
  const exact = await FlatIndex.open({ sources, dim: datastore.keyDim, ...options });
  try {
    const { signal } = options;
    return await exact.search(queries, { k, exclude, excludePerQuery, signal });
  } finally {
    await exact.close();
  }
}
