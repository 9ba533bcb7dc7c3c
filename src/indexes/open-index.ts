/** Opens the index that suits the keys: Milvus where they were sent there, an inverted file where one was built, exact search otherwise. */
import { FlatIndex, type OpenIndexOptions as OpenFlatOptions } from './flat-index.ts';
import { corruptIndex, readHeader, unindexedSources } from './ivf/ivf-header.ts';
import { IvfIndex } from './ivf/ivf-index.ts';
import { JoinedIndex } from './joined-index.ts';
import { type MilvusHeader, readMilvusHeader } from './milvus/milvus-header.ts';
import { MilvusIndex } from './milvus/milvus-index.ts';
import type { VectorIndex } from './vector-index.ts';

export interface OpenIndexOptions extends OpenFlatOptions {
  /** Folder of an inverted file (`buildIvf`). Keys that came after it was built are searched exactly, beside it. */
  indexFolder?: string;
  /** Entries whose keys were dropped: the index has the codes of them, and `sources` are the keys that came after. */
  dropped?: { entries: number; codes: string };
}

/** From this many entries on an inverted file is worth its building. */
export const LARGE_INDEX_ENTRIES = 200_000;

/** Errors: those of `FlatIndex.open`; `STORE_CORRUPT` or `STORE_VERSION` for an index that is damaged or of other keys. */
export async function openIndex(options: OpenIndexOptions): Promise<VectorIndex> {
  const { indexFolder, sources, dim, dropped } = options;
  const remote = indexFolder === undefined ? undefined : await readMilvusHeader(indexFolder);
  if (remote) return await openRemote(remote, options);
  const header =
    indexFolder === undefined ? undefined : await readHeader(indexFolder, dropped?.codes);
  if (!indexFolder || !header) return FlatIndex.open(options);
  if (dropped && header.entries !== dropped.entries) {
    throw corruptIndex(`The index is of ${header.entries} entries, not of ${dropped.entries}`);
  }
  const rest = dropped ? sources : await unindexedSources(header, sources, dim);
  const keys = dropped ? [] : sources;
  const lists = await IvfIndex.open({ ...options, folder: indexFolder, header, sources: keys });
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
