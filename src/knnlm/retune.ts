/** Settings found anew, on a store's own documents: after its keys were dropped, since the distances of codes are others. */
import { Datastore } from '../datastore/datastore.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import type { BuildRequest } from './build-types.ts';
import { loadStoreModel, type StoreModelOptions } from './load-store-model.ts';
import { keepSettings } from './milvus/publish-store.ts';
import { ownSettings } from './own-settings.ts';

export interface RetuneRequest extends StoreModelOptions, Pick<BuildRequest, 'onProgress'> {}

/**
 * Tunes a store on its own documents, as a build does at its end, and stores what was found. Settings that were given, or
 * tuned on held-out text, stay: whoever found them must do so again.
 * @returns the settings stored; undefined when they stay as they are
 * Errors: those of `openKnnLM`, `ABORTED`, `STORE_LOCKED`.
 */
export async function retune(
  store: string,
  request: RetuneRequest = {},
): Promise<SettingsRecord | undefined> {
  const datastore = await Datastore.open(store);
  try {
    const { source = 'default' } = datastore.settings ?? {};
    if (source === 'given' || source === 'tuned') return undefined;
    const model = await loadStoreModel(datastore.manifest, request);
    try {
      const settings = await ownSettings(store, model, request);
      if (settings) await keepSettings(datastore, settings, request.onWarning);
      return settings;
    } finally {
      await model.close();
    }
  } finally {
    await datastore.close();
  }
}
