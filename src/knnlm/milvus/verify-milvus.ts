/** Whether Milvus holds what the datastore thinks it does: every entry once, with its document and value. */
import { join } from 'node:path';
import type { Datastore } from '../../datastore/datastore.ts';
import { KnnLMError } from '../../errors.ts';
import { flattenRanges, includesId } from '../../indexes/id-ranges.ts';
import { unindexedSources } from '../../indexes/ivf/ivf-header.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { firstId } from '../../indexes/milvus/milvus-partition.ts';
import { startOf } from '../../indexes/milvus/milvus-schema.ts';
import { indexFolder } from '../index-folder.ts';
import { mergeRanges } from '../retriever.ts';
import { syncMilvus } from './sync-milvus.ts';

/** Rows looked up by one query; what Milvus gives at once is 16,384. */
const ROWS_AT_ONCE = 8192;

export interface Problem {
  file: string;
  problem: string;
}

export interface VerifyRowsOptions {
  onEntries?: (done: number, total: number) => void;
  signal?: AbortSignal;
}

export interface RemoteVerification {
  problems: Problem[];
  /** Entries looked up. */
  entries: number;
}

/** @returns undefined for a store that is not searched there. Errors: `ABORTED`, `IO`. */
export async function verifyMilvus(
  datastore: Datastore,
  options: VerifyRowsOptions,
): Promise<RemoteVerification | undefined> {
  const folder = indexFolder(datastore.path);
  try {
    const header = await readMilvusHeader(folder);
    if (!header) return undefined;
    await unindexedSources(header, datastore.ownKeySources(), datastore.keyDim);
    const { problems, entries } = await compare(datastore, header, options);
    return { problems: problems.map((problem) => ({ file: header.url, problem })), entries };
  } catch (error) {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    return { problems: [{ file: join(folder, MILVUS_FILE), problem: error.message }], entries: 0 };
  }
}

/** Sends every entry again; rows that are there are replaced. For who holds the store's lock. Errors: those of `syncMilvus`. */
export async function sendAgain(store: string): Promise<void> {
  const folder = indexFolder(store);
  const header = await readMilvusHeader(folder);
  if (header) await writeMilvusHeader(folder, { ...header, sent: 0 });
  await syncMilvus(store, { remeasure: true });
}

interface Comparison {
  problems: string[];
  /** Entries looked up. */
  entries: number;
}

async function compare(
  datastore: Datastore,
  header: MilvusHeader,
  options: VerifyRowsOptions,
): Promise<Comparison> {
  if (header.entries === 0) return { problems: [], entries: 0 };
  const wrong = (problem: string): Comparison => ({ problems: [problem], entries: 0 });
  const { partition, dim, dtype } = header;
  const collection = new MilvusCollection(new MilvusConnection(parseMilvusUrl(header.url)));
  try {
    const facts = await collection.describe(options);
    if (!facts) return wrong('the collection is not there');
    if (facts.dim !== dim || facts.dtype !== dtype)
      return wrong(
        `it holds ${facts.dtype} keys of ${facts.dim} dimensions, not ${dtype} of ${dim}`,
      );
    if (!(await collection.partitions(options)).includes(partition.name))
      return wrong(`the partition ${partition.name} is not there`);
    await collection.load(options);
    return await compareRows(datastore, header, collection, options);
  } finally {
    await collection.close();
  }
}

/** Entries that are wrong in some way. */
class Fault {
  count = 0;
  first = 0;

  add(entry: number): void {
    if (this.count++ === 0) this.first = entry;
  }
}

async function compareRows(
  datastore: Datastore,
  header: MilvusHeader,
  collection: MilvusCollection,
  { onEntries, signal }: VerifyRowsOptions,
): Promise<Comparison> {
  const { partition, entries, samples } = header;
  const first = firstId(partition);
  const removed = flattenRanges(header.removed, entries);
  // Removed here, and on the server perhaps.
  const gone = flattenRanges(
    mergeRanges([...header.removed, ...datastore.excludedRanges()]),
    entries,
  );
  const sampled = new Map(samples.map(({ entry, value }) => [entry, value]));
  const [missing, doubled, left] = [new Fault(), new Fault(), new Fault()];
  const [otherDocument, otherValue] = [new Fault(), new Fault()];
  let wanted = 0;
  for (let from = 0; from < entries; from += ROWS_AT_ONCE) {
    const to = Math.min(entries, from + ROWS_AT_ONCE);
    const filter = `id >= ${first + from} and id < ${first + to}`;
    const fields = ['id', 'document', 'value'];
    const rows = await collection.query(partition.name, filter, fields, { signal });
    // Where the server alone has them, samples are all that is known.
    const values = datastore.remote ? undefined : await datastore.valueRange(from, to);
    const seen = new Uint8Array(to - from);
    let own = datastore.documents.locate(from).document;
    for (const { id, document, value } of rows) {
      const entry = Number(id) - first;
      if (entry < own.start || entry >= own.start + own.length)
        own = datastore.documents.locate(entry).document;
      const known = values ? values[entry - from] : sampled.get(entry);
      if (includesId(removed, entry)) left.add(entry);
      else if (seen[entry - from]!++ > 0) doubled.add(entry);
      else if (startOf(own.id) !== document) otherDocument.add(entry);
      else if (known !== undefined && known !== Number(value)) otherValue.add(entry);
    }
    for (let entry = from; entry < to; entry++) {
      if (includesId(gone, entry)) continue;
      wanted++;
      if (seen[entry - from] === 0) missing.add(entry);
    }
    onEntries?.(to, entries);
  }
  const told = (fault: Fault, problem: string): string[] => {
    if (fault.count === 0) return [];
    const { id } = datastore.documents.locate(fault.first).document;
    return [`${problem} (entry ${fault.first}, of document ${JSON.stringify(id)}, first of all)`];
  };
  const problems = [
    told(missing, `it holds ${wanted - missing.count} of ${wanted} entries`),
    told(doubled, `entries that are there twice: ${doubled.count}`),
    told(left, `entries that were removed and are still there: ${left.count}`),
    told(otherDocument, `entries with another document: ${otherDocument.count}`),
    told(otherValue, `entries with another value: ${otherValue.count}`),
  ].flat();
  return { problems, entries: wanted };
}
