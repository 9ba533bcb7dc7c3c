/** The model that made a datastore's keys, or a refusal: queries of another would find nothing. */
import { checkSameHeader, headerOf, type Manifest } from '../datastore/manifest.ts';
import type {
  KeyName,
  LanguageModel,
  LoadModelOptions,
  ModelDtype,
} from '../model/language-model.ts';
import { loadModel } from '../model/load-model.ts';
import { headerFor } from './store-header.ts';

export interface StoreModelOptions
  extends Pick<
    LoadModelOptions,
    'workers' | 'threads' | 'cacheBytes' | 'device' | 'onDownload' | 'onWarning' | 'signal'
  > {
  /** Where the model lies now, when not where it was at build. It must be the same model. */
  model?: string;
}

/** Errors: those of `loadModel`, `MODEL_MISMATCH`. */
export async function loadStoreModel(
  manifest: Manifest,
  options: StoreModelOptions = {},
): Promise<LanguageModel> {
  const header = headerOf(manifest);
  const model = await loadModel(options.model ?? header.model.name, {
    ...options,
    ...(header.key.name ? { key: header.key.name as KeyName } : { keyTensor: header.key.tensor }),
    dtype: header.fingerprint.dtype as ModelDtype,
    pairs: header.pairs,
  });
  try {
    const now = headerFor(model, { ...header, keyDtype: header.key.dtype });
    // Any provider's keys were compared with the CPU's before it was used: queries of one find the keys of another.
    const fingerprint = { ...now.fingerprint, provider: header.fingerprint.provider };
    checkSameHeader(manifest, { ...now, fingerprint });
    return model;
  } catch (error) {
    await model.close();
    throw error;
  }
}
