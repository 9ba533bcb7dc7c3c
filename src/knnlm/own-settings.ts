/** Settings for a store that was just written, found on its own documents (`self-tune.ts`). */
import { Datastore } from '../datastore/datastore.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildRequest } from './build-types.ts';
import { openStoreIndex } from './open-store-index.ts';
import { Retriever } from './retriever.ts';
import { selfTune } from './self-tune.ts';
import type { Tuning } from './tune.ts';

/** @param request.within by default what the store's settings were found with, if they were @returns undefined when the store is too small to tell. Errors: `ABORTED`. */
export async function ownSettings(
  store: string,
  model: LanguageModel,
  { within, onProgress, signal }: Pick<BuildRequest, 'within' | 'onProgress' | 'signal'>,
): Promise<SettingsRecord | undefined> {
  const datastore = await Datastore.open(store);
  try {
    const index = await openStoreIndex(datastore);
    try {
      const retriever = new Retriever(datastore, index);
      const { evidence } = datastore.settings ?? {};
      const speed = evidence?.speed as Tuning['speed'];
      return await selfTune(
        { datastore, model, retriever },
        { within: within ?? speed?.within, onProgress, signal },
      );
    } finally {
      await index.close();
    }
  } finally {
    await datastore.close();
  }
}
