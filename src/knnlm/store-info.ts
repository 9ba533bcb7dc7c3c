/** What a datastore is, in figures: the reply of `info`. */
import type { Datastore, StoreBytes } from '../datastore/datastore.ts';
import type { StoredPairs } from '../datastore/manifest.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import { describeIndex, type IndexInfo } from './index-folder.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';

export interface StoreInfo {
  /** Its folder, or its address on Milvus. */
  path: string;
  documents: number;
  /** n, deleted ones not counted. */
  entries: number;
  /** Entries deleted but still on disk. */
  deleted: number;
  /** d */
  keyDim: number;
  model: {
    name: string;
    family: string;
    file: string;
    dtype: string;
    /** One of the six of Table 5, or null for a tensor the user named. */
    key: string | null;
    keyTensor: string;
    keyDtype: string;
    weights: string;
    tokenizer: string;
    provider: string;
  };
  index: IndexInfo;
  /** False where keys were dropped and codes are left of them; newer entries may have theirs. And where Milvus alone has the entries. */
  hasKeys: boolean;
  /** Whether keys and values are on Milvus only. */
  remote: boolean;
  /** Bytes on disk, the index among them. */
  bytes: StoreBytes & { index: number };
  bytesPerEntry: number;
  settings: SettingsRecord;
  window: number;
  stride: number;
  /** Documents are pairs of a source and its target: what the model was told of them. Undefined for texts. */
  pairs?: StoredPairs;
  /** False while a build has not finished: its complete documents can be used all the same. */
  complete: boolean;
}

/** @param path where it is said to be */
export async function describeStore(
  datastore: Datastore,
  path = datastore.path,
): Promise<StoreInfo> {
  const { model, fingerprint, key, window, stride, pairs } = datastore.header;
  const { dropped } = datastore;
  const index = await describeIndex(datastore.path, dropped?.codes);
  const parts = await datastore.bytes();
  const indexBytes = index.bytes ?? 0;
  const bytes = { ...parts, index: indexBytes, total: parts.total + indexBytes };
  const deleted = datastore.excludedRanges().reduce((sum, [start, end]) => sum + end - start, 0);
  const entries = datastore.entries - deleted;
  return {
    path,
    documents: datastore.documents.live,
    entries,
    deleted,
    keyDim: datastore.keyDim,
    model: {
      name: model.name,
      family: model.family,
      file: model.file,
      dtype: fingerprint.dtype,
      key: key.name,
      keyTensor: key.tensor,
      keyDtype: key.dtype,
      weights: fingerprint.weights,
      tokenizer: fingerprint.tokenizer,
      provider: fingerprint.provider,
    },
    index,
    hasKeys: !dropped && !datastore.remote,
    remote: datastore.remote,
    bytes,
    bytesPerEntry: bytes.total / Math.max(1, entries),
    settings: datastore.settings ?? { ...DEFAULT_SETTINGS, source: 'default' },
    window,
    stride,
    ...(pairs && { pairs }),
    complete: datastore.complete,
  };
}
