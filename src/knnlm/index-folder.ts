/** Where a datastore's index lies, what it is in figures, and how it is taken away. Building it is `index-store.ts`. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { keysDropped } from '../datastore/drop-keys.ts';
import { readManifest } from '../datastore/manifest.ts';
import { entriesElsewhere } from '../datastore/value-source.ts';
import { ioError } from '../errors.ts';
import { readHeader } from '../indexes/ivf/ivf-header.ts';
import { type ListSizes, listSizes } from '../indexes/ivf/list-sizes.ts';
import { type MilvusHeader, readMilvusHeader } from '../indexes/milvus/milvus-header.ts';

/** Folder of the index within a datastore. */
export const indexFolder = (store: string): string => join(store, 'index');

/** An index in figures. */
export interface IndexInfo {
  kind: string;
  /** Entries that are indexed; those that came later are searched exactly. */
  indexed?: number;
  lists?: number;
  /** Entries of a list; missing where the index file is damaged (`verify` says how). */
  listSizes?: ListSizes;
  /** How keys are coded, such as `sq8` or `pq32`. */
  codes?: string;
  /** Lists read per query. */
  probes?: number;
  /** As measured when it was built: share of the true neighbors found, and mean |Δ log p| of the mixture in nats. */
  recall?: number;
  error?: number;
  /** Of the error, which is the mean of a sample of queries. */
  standardError?: number;
  /** λ and T that the error was measured with. */
  judgedBy?: string;
  /** On disk. */
  bytes?: number;
  /** Of a collection on Milvus: where it is, its index type there and how that is searched. */
  url?: string;
  type?: string;
  search?: Record<string, number>;
}

/**
 * What `info` says of a store's index. @param codes the file of codes that took the place of keys
 * Errors: `STORE_CORRUPT`, `STORE_VERSION` of the index, `IO`.
 */
export async function describeIndex(store: string, codes?: string): Promise<IndexInfo> {
  const remote = await readMilvusHeader(indexFolder(store));
  if (remote) return describeRemote(remote);
  const header = await readHeader(indexFolder(store), codes);
  if (!header) return { kind: 'flat' };
  const { entries: indexed, lists, settings, file, evidence } = header;
  return {
    kind: 'ivf',
    indexed,
    lists,
    listSizes: await listSizes(indexFolder(store), header),
    codes: header.codec?.name ?? 'sq8',
    probes: settings.probes,
    ...measured(evidence),
    bytes: file.bytes,
  };
}

function describeRemote({ url, entries, index, settings, evidence }: MilvusHeader): IndexInfo {
  return {
    kind: 'milvus',
    indexed: entries,
    url,
    type: index?.type,
    search: settings?.params,
    ...measured(evidence),
  };
}

function measured(
  evidence: Record<string, unknown> | null,
): Pick<IndexInfo, 'recall' | 'error' | 'standardError' | 'judgedBy'> {
  const number = (name: string): number | undefined => {
    const value = evidence?.[name];
    return typeof value === 'number' ? value : undefined;
  };
  const { judgedBy } = evidence ?? {};
  return {
    recall: number('recall'),
    error: number('error'),
    standardError: number('standardError'),
    judgedBy: typeof judgedBy === 'string' ? judgedBy : undefined,
  };
}

/**
 * Takes the index away; search is exact again. For whoever renumbers entries.
 * Errors: `INVALID_ARGUMENT` where keys were dropped, or are on Milvus only, and the index is all there is, `IO`.
 */
export async function removeIndex(store: string): Promise<void> {
  const { codes, remote } = await readManifest(store);
  if (codes !== undefined) throw keysDropped(store);
  if (remote) throw entriesElsewhere(store);
  const folder = indexFolder(store);
  await rm(folder, { recursive: true, force: true }).catch((cause) => {
    throw ioError('remove', folder, cause);
  });
}
