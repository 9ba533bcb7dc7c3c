/** What bringing a store up to date on Milvus takes, gives and hands around. */
import type { Datastore } from '../../datastore/datastore.ts';
import type { MilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import type { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import type { CallOptions, MilvusAccess } from '../../indexes/milvus/milvus-connection.ts';
import type { MilvusHeader, MilvusSettings } from '../../indexes/milvus/milvus-header.ts';
import type { IndexStoreRequest } from '../index-store.ts';
import type { ValuesPlace } from './leave-entries.ts';

export interface MilvusStoreRequest
  extends Pick<
    IndexStoreRequest,
    'maxError' | 'memoryBytes' | 'threads' | 'onProgress' | 'signal'
  > {
  /** Default: where the store's entries are already. */
  url?: MilvusUrl;
  access?: MilvusAccess;
  /** `remote` leaves keys and values to the collection. Default `local`: they stay in the store's folder too. */
  values?: ValuesPlace;
  /** How long a server that went away is waited for, in milliseconds. Default 60 s. */
  patienceMs?: number;
  /** Measure how it is searched though nothing has changed. */
  remeasure?: boolean;
  onWarning?: (message: string) => void;
}

/** One setting, measured. */
export interface MilvusTrial extends MilvusSettings {
  /** Share of the true neighbors found. */
  recall: number;
  /** Mean |Δ log p| of the mixture, in nats. */
  error: number;
  /** Of that mean. */
  standardError: number;
}

export interface MilvusStoreResult {
  kind: 'milvus';
  /** Without the token. */
  url: string;
  /** Searched there. */
  entries: number;
  /** Sent and removed by this call. */
  sent: number;
  removed: number;
  index: { type: string; params: Record<string, number> };
  settings: MilvusSettings;
  /** Share of the true neighbors found with these settings. */
  recall: number;
  /** Mean |Δ log p| of the mixture, in nats. */
  error: number;
  /** False when no setting keeps the error below what was asked; the most exact one was taken. */
  reached: boolean;
  /** What was measured on the way; empty when what was measured before still holds. */
  trials: MilvusTrial[];
  /** What the server lacks. */
  notes: string[];
  seconds: number;
}

/** What the steps share. */
export interface Work {
  store: string;
  folder: string;
  datastore: Datastore;
  collection: MilvusCollection;
  header: MilvusHeader;
  request: MilvusStoreRequest;
  calls: CallOptions;
}
