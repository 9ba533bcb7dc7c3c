/** Opens the index that suits the keys: Milvus where they were sent there, an inverted file where one was built, exact search otherwise. */
import { FlatIndex, type OpenIndexOptions as OpenFlatOptions } from './flat-index.ts';
import { readHeader, unindexedSources } from './ivf/ivf-header.ts';
import { IvfIndex } from './ivf/ivf-index.ts';
import { JoinedIndex } from './joined-index.ts';
import { type MilvusHeader, readMilvusHeader } from './milvus/milvus-header.ts';
import { MilvusIndex } from './milvus/milvus-index.ts';
import type { VectorIndex } from './vector-index.ts';

export interface OpenIndexOptions extends OpenFlatOptions {
  /** Folder of an inverted file (`buildIvf`). Keys that came after it was built are searched exactly, beside it. */
  indexFolder?: string;
}

/** From this many entries on an inverted file is worth its building. */
export const LARGE_INDEX_ENTRIES = 200_000;

/** Errors: those of `FlatIndex.open`; `STORE_CORRUPT` or `STORE_VERSION` for an index that is damaged or of other keys. */
export async function openIndex(options: OpenIndexOptions): Promise<VectorIndex> {
  const { indexFolder, sources, dim } = options;
  if (indexFolder === undefined) return FlatIndex.open(options);
  const remote = await readMilvusHeader(indexFolder);
  if (remote) return await openRemote(remote, options);
  const header = await readHeader(indexFolder);
  if (!header) return FlatIndex.open(options);
  const rest = await unindexedSources(header, sources, dim);
  const lists = await IvfIndex.open({ ...options, folder: indexFolder, header });
  if (rest.length === 0) return lists;
  try {
    return new JoinedIndex([lists, await FlatIndex.open({ ...options, sources: rest })]);
  } catch (error) {
    await lists.close();
    throw error;
  }
}

/** What has not been sent yet is searched exactly, here; nothing is asked of the server before the first search. */
async function openRemote(header: MilvusHeader, options: OpenIndexOptions): Promise<VectorIndex> {
  if (header.entries === 0) return FlatIndex.open(options);
  const { sources, dim, threads } = options;
  const rest = await unindexedSources(header, sources, dim);
  const remote = new MilvusIndex({ header, sources, threads });
  if (rest.length === 0) return remote;
  return new JoinedIndex([remote, await FlatIndex.open({ ...options, sources: rest })]);
}
