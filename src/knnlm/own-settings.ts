/** Settings for a store that was just written, found on its own documents (`self-tune.ts`). */
import { Datastore } from '../datastore/datastore.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildRequest } from './build-types.ts';
import { openStoreIndex } from './open-store-index.ts';
import { Retriever } from './retriever.ts';
import { selfTune } from './self-tune.ts';

/** @returns undefined when the store is too small to tell. Errors: `ABORTED`. */
export async function ownSettings(
  store: string,
  model: LanguageModel,
  { onProgress, signal }: Pick<BuildRequest, 'onProgress' | 'signal'>,
): Promise<SettingsRecord | undefined> {
  const datastore = await Datastore.open(store);
  try {
    const index = await openStoreIndex(datastore);
    try {
      const retriever = new Retriever(datastore, index);
      return await selfTune({ datastore, model, retriever }, { onProgress, signal });
    } finally {
      await index.close();
    }
  } finally {
    await datastore.close();
  }
}
