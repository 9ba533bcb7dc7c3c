/** A stored document once more under another id: the same text has the same entries, and no model need read it. */
import type { Datastore } from './datastore.ts';
import type { DatastoreWriter } from './datastore-writer.ts';
import { keyBytes, segmentPart } from './segment.ts';
import type { DocumentRecord } from './types.ts';
import { readVerified } from './verified-reader.ts';

/** Bytes of keys copied at once. */
const SLICE_BYTES = 4 * 1024 * 1024;

/** Whether a document's keys are there to be copied. */
export const isCopyable = (datastore: Datastore, { start }: DocumentRecord): boolean =>
  start >= (datastore.dropped?.entries ?? 0);

/**
 * @param writer of the datastore, between two documents
 * @param original as it is stored, of the same text and so of the same length
 * Errors: `STORE_CORRUPT` for a block that does not match its checksum, `DISK_FULL`, `IO`.
 */
export async function copyDocument(
  writer: DatastoreWriter,
  datastore: Datastore,
  original: DocumentRecord,
  copy: Omit<DocumentRecord, 'start'>,
): Promise<void> {
  const { manifest } = datastore;
  const rowBytes = keyBytes(manifest);
  const { segment, first } = segmentOf(datastore, original.start);
  const part = segmentPart(datastore.path, manifest, segment, 'keys');
  const rows = Math.max(1, Math.floor(SLICE_BYTES / rowBytes));
  const end = original.start + original.length;
  let at = original.start + (await writer.beginDocument(copy));
  for (; at < end; at = Math.min(end, at + rows)) {
    const to = Math.min(end, at + rows);
    const bytes = new Uint8Array((to - at) * rowBytes);
    const range = [(at - first) * rowBytes, (to - first) * rowBytes] as const;
    let filled = 0;
    for await (const piece of readVerified(part, [range])) {
      bytes.set(piece, filled);
      filled += piece.length;
    }
    const keys = manifest.key.dtype === 'fp16' ? Uint16Array : Float32Array;
    await writer.append(new keys(bytes.buffer), await datastore.valueRange(at, to));
  }
  await writer.endDocument();
}

/** Documents do not reach from one segment into the next. */
function segmentOf({ manifest }: Datastore, entry: number) {
  let first = 0;
  for (const segment of manifest.segments) {
    if (entry < first + segment.entries) return { segment, first };
    first += segment.entries;
  }
  throw new Error(`no entry ${entry}`);
}
