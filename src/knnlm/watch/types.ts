/** What keeping folders in step takes, and what it tells. */
import type { ReadSettings } from '../../datastore/sources/source-types.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import type { AddOptions, BuiltIndex } from '../build-types.ts';
import type { StoreCompaction } from '../compact-store.ts';
import type { IndexChoice } from '../keep-indexed.ts';
import type { StoreModelOptions } from '../load-store-model.ts';
import type { UsedSettings } from '../types.ts';

export interface WatchRequest
  extends Pick<ReadSettings, 'textColumn' | 'idColumn' | 'invalidUtf8'>,
    Omit<StoreModelOptions, 'model'>,
    Pick<AddOptions, 'commitMs' | 'onProgress' | 'selfTune'> {
  /** The store's model, or where it lies now. Default: as at build. Loaded when there is something for it to read. */
  model?: LanguageModel | string;
  /** Ends when the store is in step. Default: goes on until the signal is given. */
  once?: boolean;
  /** A file must have rested for so many milliseconds before it is read. Default 2,000, at least 100. */
  settleMs?: number;
  /** Looks every so many milliseconds instead of waiting to be told: for network mounts. Default: waits. */
  pollMs?: number;
  /** Whether the store is compacted when removed documents or segments have become many. Default true. */
  compact?: boolean;
  /** As for `addDocuments`. Default `auto`. */
  index?: IndexChoice;
}

export type WatchEvent =
  | { event: 'watching'; store: string; folders: string[] }
  | {
      event: 'synced';
      /** Ids of documents. */
      added: string[];
      updated: string[];
      /** Files that were renamed: copied within the store, unread. */
      moved: { from: string; to: string }[];
      removed: string[];
      /** That the model has read. */
      entries: number;
      seconds: number;
      stored: { documents: number; entries: number };
      index?: BuiltIndex;
      settings?: UsedSettings;
    }
  /** A file, a document or a folder that is passed over. */
  | { event: 'skipped'; source: string; reason: string }
  /** Something is in the way; it is tried again. */
  | { event: 'waiting'; reason: string }
  | ({ event: 'compacted'; seconds: number } & Pick<
      StoreCompaction,
      'documents' | 'entries' | 'removedDocuments' | 'segments'
    >)
  /** Nothing is left to do. */
  | {
      event: 'in-step';
      files: number;
      /** Files that could not be read. */
      failed: number;
      documents: number;
      entries: number;
    };
