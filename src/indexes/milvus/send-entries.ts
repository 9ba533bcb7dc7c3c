/**
 * Sends a datastore's entries to their partition: batches of bounded size, a few under way at a time, so that a slow server
 * slows the reading down. A batch that was sent twice changes nothing, since rows are replaced by id; what is known to
 * have arrived is told on the way, and a next time goes on from there.
 */
import { halfToFloats } from '../../math/half.ts';
import type { IdRange, KeySource } from '../../math/vectors.ts';
import { type FlatRanges, flattenRanges } from '../id-ranges.ts';
import { readKeyBytes } from '../read-keys.ts';
import type { MilvusCollection } from './milvus-collection.ts';
import type { CallOptions } from './milvus-connection.ts';
import { subtract } from './milvus-filter.ts';
import type { MilvusHeader } from './milvus-header.ts';
import { firstId } from './milvus-partition.ts';
import type { EntryRow } from './milvus-schema.ts';

/** What is sent, as the datastore tells it. */
export interface EntrySource {
  sources: readonly KeySource[];
  /** @returns (end - start) token ids */
  values(range: IdRange): Promise<Uint32Array>;
  /** The document of an entry, and where it ends. */
  document(entry: number): { id: string; end: number };
}

export interface SendOptions extends CallOptions {
  /** Told how many entries have arrived from the first on, without a gap. */
  onSent: (sent: number) => void | Promise<void>;
}

/** Numbers of a batch's keys: they are handled one by one on the main thread, and 2¹⁶ take some 5 ms. */
const BATCH_NUMBERS = 2 ** 16;
/** Bytes of a batch whose keys are sent as they are stored. */
const BATCH_BYTES = 2 ** 20;
const BATCHES_AT_ONCE = 3;

/** @param range entries to send @param removed entries that are not to be sent */
export async function sendEntries(
  collection: MilvusCollection,
  header: MilvusHeader,
  { source, range, removed }: { source: EntrySource; range: IdRange; removed: readonly IdRange[] },
  { onSent, ...options }: SendOptions,
): Promise<void> {
  const size = Math.max(
    1,
    Math.floor(
      header.dtype === 'fp16' ? BATCH_BYTES / (2 * header.dim) : BATCH_NUMBERS / header.dim,
    ),
  );
  const batches = cut(live(range, removed), size);
  const arrived = new Array<boolean>(batches.length).fill(false);
  let next = 0;
  let complete = 0;
  let failed = false;
  const work = async (): Promise<void> => {
    while (next < batches.length && !failed) {
      const number = next++;
      const rows = await rowsOf(source, header, batches[number]!);
      await collection.upsert(header.partition.name, rows, options);
      arrived[number] = true;
      while (arrived[complete]) complete++;
      await onSent(complete === batches.length ? range[1] : batches[complete]![0]);
    }
  };
  const workers = Array.from({ length: BATCHES_AT_ONCE }, () =>
    work().catch((error) => {
      failed = true;
      throw error;
    }),
  );
  // The others' batches count too: they end before the failure is told.
  const ends = await Promise.allSettled(workers);
  const first = ends.find((end) => end.status === 'rejected');
  if (first) throw first.reason;
  if (batches.length === 0) await onSent(range[1]);
}

function live([start, end]: IdRange, removed: readonly IdRange[]): FlatRanges {
  return subtract(Int32Array.of(start, end), flattenRanges(removed, end));
}

function cut(ranges: FlatRanges, size: number): IdRange[] {
  const parts: IdRange[] = [];
  for (let r = 0; r < ranges.length; r += 2)
    for (let from = ranges[r]!; from < ranges[r + 1]!; from += size)
      parts.push([from, Math.min(ranges[r + 1]!, from + size)]);
  return parts;
}

async function rowsOf(
  source: EntrySource,
  { partition, dim, dtype }: MilvusHeader,
  range: IdRange,
): Promise<EntryRow[]> {
  const [start, end] = range;
  const bytes = await readKeyBytes(source.sources, dim, range);
  const values = await source.values(range);
  const keyOf = keyReader(bytes, source.sources[0]!.dtype, { dim, dtype });
  const first = firstId(partition);
  const rows: EntryRow[] = [];
  let document = source.document(start);
  for (let entry = start; entry < end; entry++) {
    if (entry === document.end) document = source.document(entry);
    const row = entry - start;
    rows.push({ id: first + entry, document: document.id, value: values[row]!, key: keyOf(row) });
  }
  return rows;
}

/** A row's key as the collection wants it. */
function keyReader(
  bytes: Uint8Array,
  stored: KeySource['dtype'],
  { dim, dtype }: Pick<MilvusHeader, 'dim' | 'dtype'>,
): (row: number) => EntryRow['key'] {
  if (dtype === 'fp16') return (row) => Buffer.from(bytes.buffer, row * 2 * dim, 2 * dim);
  let floats: Float32Array;
  if (stored === 'fp32') floats = new Float32Array(bytes.buffer);
  else {
    floats = new Float32Array(bytes.length / 2);
    halfToFloats(floats, new Uint16Array(bytes.buffer));
  }
  return (row) => floats.subarray(row * dim, (row + 1) * dim);
}
