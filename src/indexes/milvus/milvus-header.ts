/**
 * `milvus.json` in a datastore's index folder: where its entries are, how many of them, and how they are searched. Written
 * after what it tells has been acknowledged by the server, and replaced whole: a stop at any moment loses no entry, and
 * what was sent without being written down is sent again.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import type { IdRange } from '../../math/vectors.ts';
import { type SourceMark, syncFolder } from '../ivf/ivf-header.ts';

import type { MilvusPartition } from './milvus-partition.ts';
import type { VectorDtype } from './milvus-schema.ts';

export const MILVUS_FILE = 'milvus.json';
const FORMAT = 'knnlm-milvus';
const VERSION = 1;

/** How a query is searched. */
export interface MilvusSettings {
  /** Of the index, such as `nprobe`. */
  params: Record<string, number>;
  /** Neighbors per k compared exactly by the datastore's own keys; 0 takes the distances that the server gives. */
  rerank: number;
}

export interface MilvusHeader {
  format: typeof FORMAT;
  version: typeof VERSION;
  /** Without the token. */
  url: string;
  partition: MilvusPartition;
  dim: number;
  dtype: VectorDtype;
  /** Entries that are searched there; those after them are searched exactly, here. */
  entries: number;
  /** Entries that the server has acknowledged. */
  sent: number;
  /** The keys that were sent; none where the server alone has them. */
  sources: SourceMark[];
  /** Entries that are not there: removed before they were sent, or since. Sorted, disjoint. */
  removed: IdRange[];
  /** Some entries with their values, by which the collection is known again. */
  samples: { entry: number; value: number }[];
  index: { type: string; params: Record<string, number> } | null;
  settings: MilvusSettings | null;
  /** What was measured when the settings were chosen. */
  evidence: Record<string, unknown> | null;
  /** What the server lacks. */
  notes: string[];
  /** The partition holds what a compaction has renumbered since; a new one takes its place. */
  isStale?: true;
  /** Partitions of former builds that are yet to be dropped. */
  retired: { url: string; partition: string }[];
}

export const newMilvusHeader = (
  fields: Pick<
    MilvusHeader,
    'url' | 'partition' | 'dim' | 'dtype' | 'sources' | 'notes' | 'retired'
  >,
): MilvusHeader => ({
  format: FORMAT,
  version: VERSION,
  ...fields,
  entries: 0,
  sent: 0,
  removed: [],
  samples: [],
  index: null,
  settings: null,
  evidence: null,
});

const REBUILD = 'Send the entries again: knnlm index STORE --index milvus://HOST:PORT/COLLECTION';

/** Undefined when the folder has none. Errors: `STORE_CORRUPT`, `STORE_VERSION`, `IO`. */
export async function readMilvusHeader(folder: string): Promise<MilvusHeader | undefined> {
  const path = join(folder, MILVUS_FILE);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw ioError('read', path, cause);
  }
  let stored: { crc32?: unknown; header?: MilvusHeader } | null;
  try {
    stored = JSON.parse(text) as typeof stored;
  } catch {
    throw new KnnLMError('STORE_CORRUPT', `${path} is not JSON. ${REBUILD}`);
  }
  const header = stored?.header;
  if (header?.format !== FORMAT || stored?.crc32 !== crc32(JSON.stringify(header))) {
    throw new KnnLMError('STORE_CORRUPT', `${path} does not match its checksum. ${REBUILD}`);
  }
  if (header.version !== VERSION) {
    throw new KnnLMError(
      'STORE_VERSION',
      `${path} has format version ${header.version}, this program reads ${VERSION}. ${REBUILD}`,
    );
  }
  const { milvusHeaderSchema, problemOf } = await import('../header-schema.ts');
  const problem = problemOf(milvusHeaderSchema, header);
  if (problem) throw new KnnLMError('STORE_CORRUPT', `${path} is damaged: ${problem}. ${REBUILD}`);
  return header;
}

/** The whole file. */
export function milvusHeaderText(header: MilvusHeader): string {
  const sum = crc32(JSON.stringify(header));
  return `${JSON.stringify({ crc32: sum, header }, null, 1)}\n`;
}

/** Replaces it atomically. */
export async function writeMilvusHeader(folder: string, header: MilvusHeader): Promise<void> {
  const path = join(folder, MILVUS_FILE);
  const temporary = `${path}.tmp`;
  try {
    await mkdir(folder, { recursive: true });
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(milvusHeaderText(header));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (cause) {
    throw ioError('write', path, cause);
  }
}
