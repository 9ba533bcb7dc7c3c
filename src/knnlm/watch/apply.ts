/** Makes the changes of a plan: what is new or changed first, so that nothing is missing meanwhile, then what is gone. */
import { copyDocument } from '../../datastore/copy-document.ts';
import type { Datastore } from '../../datastore/datastore.ts';
import { DatastoreWriter } from '../../datastore/datastore-writer.ts';
import { removeDocuments } from '../../datastore/remove-documents.ts';
import type { InputFile } from '../../datastore/sources/input-files.ts';
import type { ReadDocument } from '../../datastore/sources/read-documents.ts';
import { readFiles } from '../../datastore/sources/read-each.ts';
import type { ReadSettings } from '../../datastore/sources/source-types.ts';
import { KnnLMError } from '../../errors.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import { buildEntries } from '../build.ts';
import type { AddOptions } from '../build-types.ts';
import { removeFromMilvus } from '../milvus/remove-from-milvus.ts';
import type { Look } from './look.ts';
import type { SyncPlan } from './plan.ts';

export interface ApplyOptions
  extends Pick<ReadSettings, 'textColumn' | 'idColumn' | 'invalidUtf8' | 'pairs'>,
    Pick<AddOptions, 'commitMs' | 'onProgress' | 'signal'> {
  model: () => Promise<LanguageModel>;
  onWarning?: (message: string) => void;
}

/** Writes what is new. @returns entries that the model read. Errors: those of `DatastoreWriter` and `buildEntries`. */
export async function storeFresh(
  { fresh, moved }: SyncPlan,
  { files }: Look,
  datastore: Datastore,
  options: ApplyOptions,
): Promise<number> {
  if (fresh.size + moved.length === 0) return 0;
  const { path, header } = datastore;
  // Before the lock is taken, which nobody else should have to wait for.
  const model = fresh.size > 0 ? await options.model() : undefined;
  const writer = await DatastoreWriter.open(path, header, { mode: 'add', replace: true });
  try {
    for (const { from, to } of moved) {
      const { id, source, hash, metadata } = to;
      const { length, sourceText } = from;
      const copy = { id, source, hash, length, metadata, sourceText };
      await copyDocument(writer, datastore, from, copy);
    }
  } catch (error) {
    await writer.abort();
    throw error;
  }
  if (!model) {
    await writer.finish(null);
    return 0;
  }
  const { commitMs, onProgress, signal } = options;
  const sources = [...files.values()].filter(({ state, documents }) => {
    return state === 'read' && documents.some(({ id, hash }) => fresh.get(id)?.hash === hash);
  });
  const { entries } = await buildEntries(
    wanted(
      sources.map(({ seen }) => seen.file),
      fresh,
      options,
    ),
    model,
    writer,
    {
      settings: null,
      inputBytes: sources.reduce((sum, { seen }) => sum + seen.bytes, 0),
      commitMs,
      onProgress,
      signal,
    },
  );
  return entries;
}

/** Of the files' documents those that were planned. One that has changed since is another's time. */
async function* wanted(
  files: readonly InputFile[],
  fresh: SyncPlan['fresh'],
  { signal, textColumn, idColumn, invalidUtf8, pairs }: ApplyOptions,
): AsyncGenerator<ReadDocument> {
  const left = new Map(fresh);
  const settings = { signal, textColumn, idColumn, invalidUtf8, pairs };
  for await (const document of readFiles(files, settings)) {
    const { id, hash, source } = document;
    const planned = left.get(id);
    if (planned?.hash !== hash || planned.source !== source) continue;
    left.delete(id);
    yield document;
  }
}

/** @returns what was removed. Errors: those of `removeDocuments`. */
export async function removeGone(
  { gone }: SyncPlan,
  { path, documents: known }: Datastore,
  { onWarning }: ApplyOptions,
): Promise<string[]> {
  const ids = gone.map(({ id }) => id);
  if (ids.length === 0) return ids;
  try {
    await removeDocuments(path, { ids }, { known });
  } catch (error) {
    // Somebody else has removed one of them just now: the rest goes next time.
    if (error instanceof KnnLMError && error.code === 'INVALID_ARGUMENT') return [];
    throw error;
  }
  await removeFromMilvus(path, { onWarning });
  return ids;
}
