/**
 * Removal with a receipt: what was removed, and how its absence was checked by somebody who does not take the writer's
 * word for it. The store is opened anew, as any reader would, and asked for the removed documents with their own keys;
 * the same question without the exclusion of what is deleted shows that it would have found them. After a compaction
 * every file is searched for their bytes.
 */

import { join } from 'node:path';
import { Datastore } from '../datastore/datastore.ts';
import { listFolder, pathKind, readStream } from '../datastore/files.ts';
import { complement, keyRows } from '../datastore/key-rows.ts';
import { type Removal, removeDocuments } from '../datastore/remove-documents.ts';
import type { DocumentSelection } from '../datastore/select-documents.ts';
import { FlatIndex } from '../indexes/flat-index.ts';
import { halfToFloats } from '../math/half.ts';
import type { IdRange } from '../math/vectors.ts';
import { type CompactStoreOptions, compactStore, type StoreCompaction } from './compact-store.ts';
import { removeFromMilvus } from './milvus/remove-from-milvus.ts';

/** Keys of the removed documents that are searched for, and rows that files are searched for: spread evenly. */
const MOST_QUERIES = 256;
const MOST_ROWS = 4096;
const NEIGHBORS = 16;

export interface RemovalReceipt {
  format: 'knnlm-removal';
  version: 1;
  /** ISO 8601. */
  time: string;
  store: string;
  documents: { id: string; source: string; hash: string; entries: number; range: IdRange }[];
  entries: number;
  remaining: number;
  /** What a compaction made of settings that the removed documents had a part in; missing when they had none. */
  settings?: StoreCompaction['settings'];
  checks: {
    /** Removed ids that a new reader finds in the document table. Must be 0. */
    idsFound: number;
    /** The removed documents' own keys as queries, `k` neighbors each; none of those whose keys were dropped. */
    search: {
      queries: number;
      k: number;
      /** Queries with a removed neighbor when nothing is excluded: shows that the check can find them. */
      foundWithoutExclusion: number;
      /** As readers search. Must be 0. */
      found: number;
    };
    /** After a compaction: every file of the store read from end to end. */
    files?: {
      files: number;
      bytes: number;
      /** Keys of the removed documents that no other document shares, looked for in all key rows. */
      keysSearched: number;
      /** Must be 0. */
      keysFound: number;
      /** Files in which a removed document's hash stands. Must be 0. */
      hashesFound: number;
    };
  };
}

export interface ReceiptOptions extends CompactStoreOptions {
  /** Compact as well, and search the files. Default false. */
  compact?: boolean;
}

/** Errors: those of `removeDocuments` and `compactStore`. */
export async function removeWithReceipt(
  path: string,
  selection: DocumentSelection,
  { compact, ...options }: ReceiptOptions = {},
): Promise<{ removal: Removal; receipt: RemovalReceipt; compaction?: StoreCompaction }> {
  const removal = await removeDocuments(path, selection);
  await removeFromMilvus(path, { onWarning: options.onWarning });
  const ranges = removal.documents.map(({ start, length }): IdRange => [start, start + length]);
  const receipt: RemovalReceipt = {
    format: 'knnlm-removal',
    version: 1,
    time: new Date().toISOString(),
    store: path,
    documents: removal.documents.map(({ id, source, hash, length }, i) => ({
      id,
      source,
      hash,
      entries: length,
      range: ranges[i]!,
    })),
    entries: removal.entries,
    remaining: removal.remaining,
    checks: await checkSearch(path, removal, ranges),
  };
  if (!compact) return { removal, receipt };
  const rows = await ownRows(path, ranges);
  const compaction = await compactStore(path, options);
  if (compaction.settings) receipt.settings = compaction.settings;
  const hashes = removal.documents.map(({ hash }) => hash);
  receipt.checks.files = await searchFiles(path, rows, hashes);
  return { removal, receipt, compaction };
}

async function checkSearch(
  path: string,
  removal: Removal,
  ranges: readonly IdRange[],
): Promise<RemovalReceipt['checks']> {
  const store = await Datastore.open(path);
  try {
    const idsFound = removal.documents.filter(({ id }) => store.documents.find(id)).length;
    if (store.dropped) {
      const search = { queries: 0, k: NEIGHBORS, foundWithoutExclusion: 0, found: 0 };
      return { idsFound, search };
    }
    const queries = await sampleKeys(store, ranges);
    const dim = store.keyDim;
    const index = await FlatIndex.open({ sources: store.keySources(), dim });
    try {
      const count = async (exclude: IdRange[]): Promise<number> => {
        const { ids } = await index.search(queries, { k: NEIGHBORS, exclude });
        let found = 0;
        for (let i = 0; i < ids.length; i += NEIGHBORS)
          if (ids.subarray(i, i + NEIGHBORS).some((id) => isIn(ranges, id))) found++;
        return found;
      };
      return {
        idsFound,
        search: {
          queries: queries.length / dim,
          k: NEIGHBORS,
          foundWithoutExclusion: await count([]),
          found: await count(store.excludedRanges()),
        },
      };
    } finally {
      await index.close();
    }
  } finally {
    await store.close();
  }
}

const isIn = (ranges: readonly IdRange[], id: number): boolean =>
  ranges.some(([start, end]) => id >= start && id < end);

/** @returns (q, d) */
async function sampleKeys(store: Datastore, ranges: readonly IdRange[]): Promise<Float32Array> {
  const rows = await sampleRows(store, ranges, MOST_QUERIES);
  const out = new Float32Array(rows.length * store.keyDim);
  for (const [i, row] of rows.entries()) {
    const target = out.subarray(i * store.keyDim, (i + 1) * store.keyDim);
    if (store.header.key.dtype === 'fp16')
      halfToFloats(target, new Uint16Array(row.buffer, row.byteOffset, store.keyDim));
    else target.set(new Float32Array(row.buffer, row.byteOffset, store.keyDim));
  }
  return out;
}

/** Copies of rows, evenly spread over the ranges. */
async function sampleRows(
  store: Datastore,
  ranges: readonly IdRange[],
  most: number,
): Promise<Uint8Array[]> {
  const total = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
  const step = Math.max(1, Math.ceil(total / most));
  const rows: Uint8Array[] = [];
  let i = 0;
  for await (const row of keyRows(store, ranges))
    if (i++ % step === 0) rows.push(new Uint8Array(row));
  return rows;
}

const textOf = (row: Uint8Array): string =>
  Buffer.from(row.buffer, row.byteOffset, row.byteLength).toString('latin1');

/** Rows of the removed documents that no living one shares (texts that begin alike have equal keys there). */
async function ownRows(path: string, ranges: readonly IdRange[]): Promise<Set<string>> {
  const store = await Datastore.open(path);
  try {
    if (store.dropped) return new Set();
    const own = new Set((await sampleRows(store, ranges, MOST_ROWS)).map(textOf));
    const living = complement(store.excludedRanges(), store.entries);
    for await (const row of keyRows(store, living)) own.delete(textOf(row));
    return own;
  } finally {
    await store.close();
  }
}

async function searchFiles(
  path: string,
  rows: ReadonlySet<string>,
  hashes: readonly string[],
): Promise<NonNullable<RemovalReceipt['checks']['files']>> {
  const result = { files: 0, bytes: 0, keysSearched: rows.size, keysFound: 0, hashesFound: 0 };
  const store = await Datastore.open(path);
  try {
    // Where there are no keys to look for there may be none to look in.
    const all: IdRange[] = rows.size > 0 ? [[0, store.entries]] : [];
    for await (const row of all.length > 0 ? keyRows(store, all) : [])
      if (rows.has(textOf(row))) result.keysFound++;
  } finally {
    await store.close();
  }
  const wanted = new Set(hashes);
  for (const file of await filesUnder(path)) {
    result.files++;
    const { bytes, found } = await searchFile(file, wanted);
    result.bytes += bytes;
    if (found) result.hashesFound++;
  }
  return result;
}

async function searchFile(file: string, hashes: ReadonlySet<string>) {
  let bytes = 0;
  let found = false;
  let rest = '';
  for await (const chunk of readStream(file)) {
    bytes += (chunk as Buffer).length;
    const text = rest + (chunk as Buffer).toString('latin1');
    for (const [hash] of text.matchAll(/[0-9a-f]{64}/g)) found ||= hashes.has(hash);
    rest = text.slice(-63);
  }
  return { bytes, found };
}

async function filesUnder(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const name of await listFolder(folder)) {
    const path = join(folder, name);
    if ((await pathKind(path)) === 'folder') files.push(...(await filesUnder(path)));
    else files.push(path);
  }
  return files;
}
