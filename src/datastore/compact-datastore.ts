/**
 * Rewrites a datastore without what was removed, as one segment. Afterwards no file holds a byte of a removed document,
 * and the folder is what a fresh build of the surviving documents would have left, with the keys they were stored with.
 *
 *     new segment: copied, synced   →   index, watch.json removed, manifest replaced   →   old segments removed   →   named 000000
 *
 * A crash before the manifest is replaced leaves the datastore as it was, one after it leaves files that no manifest
 * counts: the next writer removes them. Memory does not grow with the datastore.
 */
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { DocumentTable } from './document-table.ts';
import {
  freeDiskBytes,
  linkFile,
  makeFolder,
  pathKind,
  removeFile,
  removeTree,
  syncFolder,
} from './files.ts';
import {
  headerOf,
  liveEntriesOf,
  type Manifest,
  readManifest,
  withoutTraces,
  writeManifest,
} from './manifest.ts';
import {
  keyBytes,
  type SegmentPart,
  segmentFolder,
  segmentParts,
  storeBytes,
  valueBytes,
} from './segment.ts';
import { SegmentWriter } from './segment-writer.ts';
import { concludeAdd, removeLeftovers } from './store-cleanup.ts';
import { type StoreLock, withLock } from './store-lock.ts';
import { entriesElsewhere } from './value-source.ts';
import { readVerified } from './verified-reader.ts';
import { watchRecordPath } from './watch-record.ts';

export interface CompactOptions {
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  /**
   * Of a datastore without keys: writes codes of the entries that stay, told as ranges, under a new name beside the old
   * ones, and returns that name. Such a datastore needs it.
   */
  keepCodes?: (kept: readonly Range[]) => Promise<string>;
  /** A stop before the new segment counts leaves the datastore as it was. */
  signal?: AbortSignal;
}

export interface Compaction {
  /** Left in the datastore. */
  documents: number;
  entries: number;
  /** Whose bytes are gone now. */
  removedDocuments: number;
  removedEntries: number;
  /** Before; afterwards it is one. */
  segments: number;
  /** False when there was nothing to do. */
  rewritten: boolean;
  /** Whether an index was removed with the keys it was made of. */
  indexRemoved: boolean;
}

type Range = readonly [start: number, end: number];

/** The name that a fresh build gives. */
const FIRST_SEGMENT = '000000';
/** Free space left untouched, in bytes. */
const DISK_RESERVE = 16 * 1024 * 1024;

/**
 * Errors: `STORE_NOT_FOUND`, `STORE_LOCKED`, `STORE_CORRUPT` when a block to be copied does not match its checksum,
 * `INVALID_ARGUMENT` for a build that has not finished, `DISK_FULL`, `ABORTED`, `IO`.
 */
export async function compactDatastore(
  path: string,
  options: CompactOptions = {},
): Promise<Compaction> {
  await readManifest(path);
  return await withLock(path, async (lock) => {
    const manifest = await concludeAdd(path, await readManifest(path));
    if (manifest.remote) throw entriesElsewhere(path);
    await removeLeftovers(path, manifest);
    const table = await DocumentTable.load(path, manifest);
    const live = [...table.liveRows()];
    const entries = liveEntriesOf(manifest);
    const result: Compaction = {
      documents: live.length,
      entries,
      removedDocuments: table.length - live.length,
      removedEntries: table.startOf(table.length) - entries,
      segments: manifest.segments.length,
      rewritten: false,
      indexRemoved: false,
    };
    let current = manifest;
    if (manifest.segments.length > 1 || result.removedDocuments > 0) {
      requireCodes(path, manifest, options);
      result.indexRemoved = !manifest.codes && (await pathKind(indexFolder(path))) === 'folder';
      current = await rewrite(path, { manifest, table, live, lock }, options);
      result.rewritten = true;
      await removeLeftovers(path, current);
    }
    if (current.segments[0]!.name !== FIRST_SEGMENT) await rename(path, current, lock);
    return result;
  });
}

/** Errors: `INVALID_ARGUMENT` when codes have to be kept, and cannot be. */
function requireCodes(path: string, { segments, codes }: Manifest, options: CompactOptions): void {
  if (codes === undefined) return;
  const isMixed = segments.some(({ keys }) => keys !== false);
  if (options.keepCodes && !isMixed) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${path} has codes in place of keys, and ${isMixed ? 'newer entries with keys. Code them first: knnlm index STORE --drop-keys' : 'nobody to keep them. Compact it with compactStore'}.`,
  );
}

interface Source {
  manifest: Manifest;
  table: DocumentTable;
  /** Rows to keep. */
  live: readonly number[];
  lock: StoreLock;
}

/** Writes the new segment and makes it count. @returns the manifest that names it alone */
async function rewrite(path: string, source: Source, options: CompactOptions): Promise<Manifest> {
  const { manifest, live, lock } = source;
  const entries = liveEntriesOf(manifest);
  await checkDisk(path, storeBytes(headerOf(manifest), entries, live.length));
  const number = 1 + Math.max(...manifest.segments.map(({ name }) => Number(name)));
  const name = String(number).padStart(6, '0');
  const keys = manifest.codes === undefined ? {} : { keys: false as const };
  const empty: Manifest = {
    ...manifest,
    segments: [{ name, entries: 0, documents: 0, documentBytes: 0, ...keys }],
    deleted: [],
  };
  let writer: SegmentWriter | undefined;
  try {
    writer = await SegmentWriter.open(path, empty);
    await copyParts(path, source, writer, options);
    await writer.seal();
    const { documentBytes } = writer;
    await writer.close();
    const segment = { name, entries, documents: live.length, documentBytes, ...keys };
    const codes = manifest.codes && (await options.keepCodes!(keptRanges(source)));
    const settings =
      live.length < source.table.length ? withoutTraces(manifest.settings) : manifest.settings;
    const compacted: Manifest = {
      ...empty,
      segments: [segment],
      settings,
      ...(codes && { codes }),
    };
    await lock.check();
    // What else tells of removed documents goes first, so that none of it is ever beside the new manifest: an index, which
    // holds codes of removed keys and centroids that they have moved, and a watcher's note, which names them.
    if (live.length < source.table.length) await removeFile(watchRecordPath(path));
    if (!codes && (await pathKind(indexFolder(path))) === 'folder')
      await removeTree(indexFolder(path));
    await writeManifest(path, compacted);
    return compacted;
  } catch (error) {
    await writer?.close();
    await giveSpaceBack(path);
    throw error;
  }
}

/** After a failure, as far as the disk allows; otherwise the next writer does it. */
async function giveSpaceBack(path: string): Promise<void> {
  try {
    await removeLeftovers(path, await readManifest(path));
  } catch {
    // The failure before is the one to tell.
  }
}

const indexFolder = (path: string): string => join(path, 'index');

const keptRanges = ({ table, live }: Source): Range[] =>
  joined(live.map((row) => [table.startOf(row), table.startOf(row + 1)]));

async function copyParts(
  path: string,
  source: Source,
  writer: SegmentWriter,
  { onProgress, signal }: CompactOptions,
): Promise<void> {
  const { manifest, table, live } = source;
  const entryRanges = keptRanges(source);
  const scaled = (bytes: number): Range[] => entryRanges.map(([a, b]) => [a * bytes, b * bytes]);
  const ranges = new Map<SegmentPart['part'], Range[]>([
    ['keys', manifest.codes === undefined ? scaled(keyBytes(manifest)) : []],
    ['values', scaled(valueBytes(manifest))],
    ['documents', joined(live.map((row) => table.lineRange(row)))],
  ]);
  const totalBytes = [...ranges.values()]
    .flat()
    .reduce((sum, [start, end]) => sum + end - start, 0);
  let doneBytes = 0;
  for (const [name, wanted] of ranges) {
    let first = 0;
    for (const segment of manifest.segments) {
      const part = segmentParts(path, manifest, segment).find((other) => other.part === name);
      if (!part) continue;
      const own = clipped(wanted, first, first + part.bytes);
      first += part.bytes;
      for await (const piece of readVerified(part, own)) {
        if (signal?.aborted)
          throw new KnnLMError('ABORTED', 'The compaction was stopped; nothing has changed.');
        await writer.appendBytes(part.part, piece);
        doneBytes += piece.length;
        onProgress?.({ doneBytes, totalBytes });
      }
    }
  }
}

/** Ranges that touch become one. */
function joined(ranges: readonly Range[]): Range[] {
  const out: [number, number][] = [];
  for (const [start, end] of ranges) {
    const last = out.at(-1);
    if (last?.[1] === start) last[1] = end;
    else out.push([start, end]);
  }
  return out;
}

/** What of the ranges lies in [first, last), counted from `first`. */
function clipped(ranges: readonly Range[], first: number, last: number): Range[] {
  return ranges
    .map(([start, end]): Range => [Math.max(start, first) - first, Math.min(end, last) - first])
    .filter(([start, end]) => start < end);
}

/** Gives the one segment the name of a first one, by second names for its files; each manifest on the way is whole. */
async function rename(path: string, manifest: Manifest, lock: StoreLock): Promise<void> {
  const segment = manifest.segments[0]!;
  const renamed: Manifest = { ...manifest, segments: [{ ...segment, name: FIRST_SEGMENT }] };
  const from = segmentParts(path, manifest, segment);
  const to = segmentParts(path, renamed, renamed.segments[0]!);
  await makeFolder(segmentFolder(path, FIRST_SEGMENT));
  try {
    for (const [i, part] of from.entries()) await linkPart(part, to[i]!);
  } catch (error) {
    if (!cannotLink(error)) throw error;
    // A file system without hard links: the name stays, which readers do not mind.
    await removeLeftovers(path, manifest);
    return;
  }
  await syncFolder(segmentFolder(path, FIRST_SEGMENT));
  await syncFolder(join(path, 'segments'));
  await lock.check();
  await writeManifest(path, renamed);
  await removeLeftovers(path, renamed);
}

async function linkPart(from: SegmentPart, to: SegmentPart): Promise<void> {
  await linkFile(from.path, to.path);
  await linkFile(`${from.path}.crc`, `${to.path}.crc`);
}

const cannotLink = (error: unknown): boolean => {
  const cause = (error as KnnLMError).cause as NodeJS.ErrnoException | undefined;
  return ['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP', 'EMLINK'].includes(cause?.code ?? '');
};

async function checkDisk(path: string, needed: number): Promise<void> {
  const free = await freeDiskBytes(path);
  if (needed + DISK_RESERVE <= free) return;
  const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  throw new KnnLMError(
    'DISK_FULL',
    `Compacting ${path} needs about ${gb(needed)} beside what is there, but ${gb(free)} are free. Free some space and try again.`,
  );
}
