/** Building a datastore and adding to it: what is asked for, and what comes of it. */
import type { RetrievalSettings } from '../datastore/types.ts';
import type { IndexChoice } from './keep-indexed.ts';
import type { ValuesPlace } from './milvus/leave-entries.ts';
import type { Progress, UsedSettings } from './types.ts';

export interface BuildRequest {
  /** Folder to write; made when missing. A half-built one of the same settings is continued. */
  out: string;
  /** Overrides of the default window and stride, in positions. */
  window?: number;
  stride?: number;
  /** How keys are stored. Default fp16; fp32 reproduces reference numbers to 1e-4 and takes twice the space. */
  keyDtype?: 'fp16' | 'fp32';
  /** Settings written to the store. Default: tuned on the store's own documents when the build is done. */
  settings?: Partial<RetrievalSettings>;
  /** Without `settings`: whether to tune on the store's own documents; else the paper's hold. Default true. */
  selfTune?: boolean;
  /** Without `settings`: the share of perplexity that speed may cost, as in `TuneRequest`. Kept when the store is tuned anew as it grows. Default: none. */
  within?: number;
  /**
   * Whether the store gets an inverted file (`indexStore`) at the end. Default `auto`: from some 200,000 entries on. `none`
   * leaves search exact. `milvus://host:port/collection`: the entries are searched there.
   */
  index?: IndexChoice;
  /** How the index codes keys (`IndexStoreRequest.codes`). Default `sq8`, with `dropKeys` `pq32`. */
  codes?: string;
  /** Whether the keys are removed when their codes are there: an entry then takes under 40 bytes. Default false. */
  dropKeys?: boolean;
  /**
   * With an index on Milvus, whether keys and values stay in the store's folder too, or are left to the collection. Default
   * `local`: only so can documents be added, or the store compacted.
   */
  values?: ValuesPlace;
  /** Time between acknowledgements, in milliseconds: about what a crash can cost. Default 5,000; 0 acknowledges every batch. */
  commitMs?: number;
  /** Told once before work begins. */
  onPlan?: (plan: BuildPlan) => void;
  onProgress?: (progress: Progress) => void;
  /** Told of every document skipped, with the reason. */
  onSkip?: (skip: { source: string; reason: string }) => void;
  /** Told of what is not as one would expect, and does no harm. */
  onWarning?: (message: string) => void;
  /** A stop is clean: what was acknowledged is kept, and the same build goes on from there. */
  signal?: AbortSignal;
}

/** An estimate, from a sample of the documents and a timed batch. */
export interface BuildPlan {
  documents: number;
  bytesOfText: number;
  entries: number;
  diskBytes: number;
  freeDiskBytes: number;
  /** Of reading and storing. */
  seconds: number;
  /** Needed besides while the store is indexed, about half of it for good; search stays exact where there is less. */
  indexBytes?: number;
}

/** An index in short. */
export interface BuiltIndex {
  kind: 'ivf' | 'milvus';
  /** Of an inverted file: how many, how keys are coded, such as `sq8` or `pq32`, and its bytes on disk. */
  lists?: number;
  codes?: string;
  bytes?: number;
  /** Of a collection on Milvus: where it is, its index type there, and the entries that were sent. */
  url?: string;
  type?: string;
  sent?: number;
  /** As measured on the store's own keys: share of the true neighbors found, and mean |Δ log p| of the mixture in nats. */
  recall: number;
  error: number;
  seconds: number;
}

export interface BuildResult {
  documents: number;
  entries: number;
  /** Until the entries were stored. */
  seconds: number;
  /** The index built after that; undefined when search is exact. */
  index?: BuiltIndex;
  /** Spent after that on tuning the settings; 0 when they were given. */
  tuningSeconds: number;
  settings: UsedSettings;
  entriesPerSecond: number;
  /** On disk, the whole store. */
  bytes: number;
  skipped: number;
  /** Entries that were already there from an earlier, unfinished build. */
  resumedEntries: number;
}

export interface AddOptions
  extends Pick<BuildRequest, 'commitMs' | 'onProgress' | 'onSkip' | 'signal'> {
  /**
   * A stored id with another text is replaced: readers see the old text or the new one, never both or neither. Equal
   * texts under different ids are then each stored. Default false: that is an error, and equal texts are stored once.
   */
  replace?: boolean;
  /** Whether settings that the store found for itself are found again once it has outgrown them. Default true. */
  selfTune?: boolean;
}

export interface AddResult {
  /** Documents and entries added; replacements count. */
  documents: number;
  entries: number;
  /** Documents that took the place of one with the same id. */
  replaced: number;
  skipped: number;
  seconds: number;
  entriesPerSecond: number;
  /** Entries that were already there from an earlier, interrupted run. */
  resumedEntries: number;
  /** The index built anew, since newer entries had become many beside it. */
  index?: BuiltIndex;
  /** Found again on the store's own documents, which had outgrown the old ones. */
  settings?: UsedSettings;
  /** The whole store afterwards; bytes on disk. */
  stored: { documents: number; entries: number; bytes: number };
}
