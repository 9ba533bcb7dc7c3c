/** Opens a store that was just built, finds settings for it from its own documents, and writes them into it. */
import { Datastore } from '../datastore/datastore.ts';
import { openIndex } from '../indexes/open-index.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { Retriever } from './retriever.ts';
import { selfTune } from './self-tune.ts';
import type { BuildRequest } from './types.ts';

/** @returns seconds it took */
export async function selfTuneStore(
  store: string,
  model: LanguageModel,
  { onProgress, signal }: Pick<BuildRequest, 'onProgress' | 'signal'>,
): Promise<number> {
  const started = performance.now();
  const datastore = await Datastore.open(store);
  const index = await openIndex({ sources: datastore.keySources(), dim: datastore.keyDim });
  try {
    const retriever = new Retriever(datastore, index);
    const record = await selfTune({ datastore, model, retriever }, { onProgress, signal });
    if (record) await datastore.updateSettings(record);
  } finally {
    await Promise.all([index.close(), datastore.close()]);
  }
  return (performance.now() - started) / 1000;
}
