/** Where a segment's parts lie and how large they are: the layout that writer, reader and verification share. */
import { endianness } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { checksumBytes } from './checksummed-file.ts';
import type { Manifest, SegmentRecord, StoreHeader } from './manifest.ts';

export interface SegmentPart {
  part: 'keys' | 'values' | 'documents';
  path: string;
  /** Bytes that count. */
  bytes: number;
}

export const segmentFolder = (store: string, name: string): string => join(store, 'segments', name);

/** Bytes of one stored key. */
export const keyBytes = (manifest: Manifest): number =>
  manifest.key.dim * (manifest.key.dtype === 'fp16' ? 2 : 4);

/** Bytes of one stored value. */
export const valueBytes = (manifest: Manifest): number => (manifest.values.dtype === 'u16' ? 2 : 4);

/** Entries of the last segment that belong to a document not yet whole. */
export const partialEntries = (manifest: Manifest): number =>
  manifest.building?.document?.entriesDone ?? 0;

/** Those that are there: a segment may have no keys any more, and no values. @param segment one of the manifest's */
export function segmentParts(
  store: string,
  manifest: Manifest,
  segment: SegmentRecord,
): SegmentPart[] {
  const folder = segmentFolder(store, segment.name);
  const isLast = segment === manifest.segments.at(-1);
  const entries = segment.entries + (isLast ? partialEntries(manifest) : 0);
  const parts: SegmentPart[] = [
    {
      part: 'keys',
      path: join(folder, keyFile(manifest)),
      bytes: entries * keyBytes(manifest),
    },
    {
      part: 'values',
      path: join(folder, valueFile(manifest)),
      bytes: entries * valueBytes(manifest),
    },
    { part: 'documents', path: join(folder, 'documents.jsonl'), bytes: segment.documentBytes },
  ];
  if (manifest.remote) return parts.slice(2);
  return segment.keys === false ? parts.slice(1) : parts;
}

export const valueFile = ({ values }: Manifest): string => `values.${values.dtype}`;

export const keyFile = ({ key }: Manifest): string =>
  key.dtype === 'fp16' ? 'keys.f16' : 'keys.f32';

/** A part that is there. */
export function segmentPart(
  store: string,
  manifest: Manifest,
  segment: SegmentRecord,
  part: SegmentPart['part'],
): SegmentPart {
  return segmentParts(store, manifest, segment).find((other) => other.part === part)!;
}

/** Whether the segment is still being written. */
export const isGrowing = (manifest: Manifest, segment: SegmentRecord): boolean =>
  manifest.building !== null && segment === manifest.segments.at(-1);

/** Estimate of a document's line in documents.jsonl: hash, length and two names. */
const DOCUMENT_LINE_BYTES = 200;

/** Bytes that a datastore of this size will take, its index aside; document lines are an estimate. */
export function storeBytes(header: StoreHeader, entries: number, documents: number): number {
  const perEntry =
    header.key.dim * (header.key.dtype === 'fp16' ? 2 : 4) + (header.vocabSize > 65_536 ? 4 : 2);
  const data = [entries * perEntry, documents * DOCUMENT_LINE_BYTES];
  return data.reduce((sum, bytes) => sum + bytes + checksumBytes(bytes), 2048);
}

/** Files are little-endian and read as they are. */
export function requireLittleEndian(): void {
  if (endianness() === 'LE') return;
  throw new KnnLMError(
    'STORE_VERSION',
    'Datastores are little-endian files and this processor is big-endian. Use an x86 or ARM machine.',
  );
}
