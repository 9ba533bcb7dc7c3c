/** The index over a collection's keys. */
import { setTimeout as sleep } from 'node:timers/promises';
import { KnnLMError } from '../../errors.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import type { MilvusHeader } from '../../indexes/milvus/milvus-header.ts';
import { indexPlans } from '../../indexes/milvus/milvus-plan.ts';
import type { Work } from './types.ts';

const POLL_MS = 500;

/** The collection's index, or the first that fits the entries and the server has; returns when it holds all rows. */
export async function ensureIndex(work: Work): Promise<NonNullable<MilvusHeader['index']>> {
  const { datastore, collection, calls, header, request } = work;
  const existing = await collection.index(calls);
  let chosen = existing && { type: existing.type, params: numbersOf(existing.params) };
  if (!chosen) {
    const bytes = datastore.keyDim * (header.dtype === 'fp16' ? 2 : 4);
    const wanted = request.url === undefined ? undefined : parseMilvusUrl(request.url).indexType;
    const refusals: string[] = [];
    for (const { type, params } of indexPlans(datastore.entries, bytes, wanted)) {
      const refusal = await collection.createIndex(type, params);
      if (refusal === undefined) {
        chosen = { type, params };
        break;
      }
      refusals.push(`${type}: ${refusal}`);
      header.notes.push(`the server has no ${type} index (${refusal})`);
    }
    if (!chosen) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Milvus at ${collection.connection.server} builds none of the indexes that fit (${refusals.join('; ')}). Ask for another: ${header.url}?index=IVF_FLAT`,
      );
    }
  }
  for (;;) {
    if (request.signal?.aborted) throw new KnnLMError('ABORTED', 'The indexing was stopped.');
    const pending = (await collection.index(calls))?.pending ?? 0;
    if (pending === 0) return chosen;
    const { entries: total } = datastore;
    request.onProgress?.({
      phase: 'indexing',
      done: Math.max(0, total - pending),
      total,
      unit: 'entries',
    });
    await sleep(POLL_MS);
  }
}

const numbersOf = (params: Record<string, unknown>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(params).flatMap(([name, value]) => {
      const number = typeof value === 'number' || value !== '' ? Number(value) : Number.NaN;
      return Number.isFinite(number) ? [[name, number]] : [];
    }),
  );
