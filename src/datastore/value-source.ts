/**
 * Where a datastore's values are read: its own files, or the server that its entries were left to. What reads them there is handed
 * in by whoever knows the server.
 */
import { KnnLMError } from '../errors.ts';

export interface ValueSource {
  /** @param ids (m) @returns (m) token ids */
  gather(ids: Int32Array): Promise<Uint32Array>;
  /** @returns (end - start) token ids of consecutive entries */
  range(start: number, end: number): Promise<Uint32Array>;
  /** Frees what it holds. */
  close(): Promise<void>;
}

/** @param store its folder. Asks no server before the first value is read. */
export type OpenValues = (store: string) => Promise<ValueSource | undefined>;

/** What whoever needs the entries themselves is told. */
export const entriesElsewhere = (store: string): KnnLMError =>
  new KnnLMError(
    'INVALID_ARGUMENT',
    `This needs the keys and values of ${store}, which were left to Milvus. Documents can be removed from it; for anything else build them into a store that keeps its entries.`,
  );

/** Of a datastore opened by who does not know the server. */
export const noValues = (store: string): ValueSource => ({
  gather: () => Promise.reject(entriesElsewhere(store)),
  range: () => Promise.reject(entriesElsewhere(store)),
  close: () => Promise.resolve(),
});
