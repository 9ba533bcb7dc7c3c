/** What a build ends with when every entry is stored: the index that the store's size asks for, and settings of its own. */
import type { SettingsRecord } from '../datastore/types.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildRequest } from './build-types.ts';
import { type KeptIndex, keepIndexed } from './keep-indexed.ts';
import { ownSettings } from './own-settings.ts';

export interface Conclusion {
  index?: KeptIndex;
  settings?: SettingsRecord;
  tuningSeconds: number;
}

/**
 * The store's writer must be open: it holds the lock. Indexed first, so that settings are found with the distances that
 * will be searched. Errors: `ABORTED`, those of `indexStore`.
 */
export async function concludeBuild(
  store: string,
  model: LanguageModel,
  {
    index: choice,
    codes,
    dropKeys,
    selfTunes,
    within,
    onProgress,
    onWarning,
    signal,
  }: ConcludeRequest,
): Promise<Conclusion> {
  const index = await keepIndexed(store, {
    // Without keys there is nothing else to search.
    index: dropKeys ? 'ivf' : choice,
    codes,
    dropKeys,
    onProgress,
    onWarning,
    signal,
    locked: true,
  });
  const began = performance.now();
  const settings = selfTunes
    ? await ownSettings(store, model, { within, onProgress, signal })
    : undefined;
  const tuningSeconds = selfTunes ? (performance.now() - began) / 1000 : 0;
  return { index, settings, tuningSeconds };
}

export interface ConcludeRequest
  extends Pick<
    BuildRequest,
    'index' | 'codes' | 'dropKeys' | 'within' | 'onProgress' | 'onWarning' | 'signal'
  > {
  selfTunes: boolean;
}
