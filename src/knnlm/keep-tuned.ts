/**
 * Settings that a store found on its own documents are found again when it has outgrown them, or when they had been learned
 * from documents that are gone. Those that a user gave or tuned are left alone.
 */
import { Datastore } from '../datastore/datastore.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildRequest } from './build-types.ts';
import { keepSettings } from './milvus/publish-store.ts';
import { ownSettings } from './own-settings.ts';
import type { UsedSettings } from './types.ts';
import { storedSettings } from './used-settings.ts';

/** A store that has so many times the entries it had is worth the seconds. */
const GROWTH = 1.25;
/** Below this nothing can be concluded. */
const FEWEST_ENTRIES = 1024;

export interface KeepTunedRequest
  extends Pick<BuildRequest, 'onProgress' | 'onWarning' | 'signal'> {
  /** Default true. */
  selfTune?: boolean;
}

/** @returns the new settings; undefined when the old ones stay. Errors: `ABORTED`, `STORE_LOCKED`, those of opening the store. */
export async function keepTuned(
  store: string,
  model: LanguageModel,
  { selfTune = true, onProgress, onWarning, signal }: KeepTunedRequest = {},
): Promise<UsedSettings | undefined> {
  if (!selfTune) return undefined;
  const datastore = await Datastore.open(store);
  try {
    if (!hasOutgrown(datastore)) return undefined;
    const settings = await ownSettings(store, model, { onProgress, signal });
    if (!settings) return undefined;
    await keepSettings(datastore, settings, onWarning);
    return storedSettings(settings);
  } finally {
    await datastore.close();
  }
}

function hasOutgrown({ settings, liveEntries }: Datastore): boolean {
  if (settings && settings.source !== 'default' && settings.source !== 'self-tuned') return false;
  if (liveEntries < FEWEST_ENTRIES) return false;
  const then = settings?.evidence?.entries;
  if (typeof then !== 'number') return true;
  return liveEntries >= then * GROWTH || liveEntries * GROWTH <= then;
}
