/** Opens the index of a datastore, over its keys or over the codes that are left of them. */
import type { Datastore } from '../datastore/datastore.ts';
import { openIndex } from '../indexes/open-index.ts';
import type { VectorIndex } from '../indexes/vector-index.ts';
import { indexFolder } from './index-folder.ts';

/** Errors: those of `openIndex`. */
export function openStoreIndex(datastore: Datastore, memoryBytes?: number): Promise<VectorIndex> {
  const { dropped, path, keyDim } = datastore;
  return openIndex({
    sources: datastore.ownKeySources(),
    dim: keyDim,
    memoryBytes,
    indexFolder: indexFolder(path),
    dropped,
  });
}
