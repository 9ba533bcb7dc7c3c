/**
 * `watch.json` in a datastore: which files of watched folders it is in step with, so that a watcher that starts again reads
 * only what has changed since. A note for speed: without it, or when it is damaged, all files are read and hashed again.
 * Compaction removes it, since it names documents.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { pathKind, readWhole, replaceFile } from './files.ts';

const FORMAT = 'knnlm-watch';
const VERSION = 1;

/** A file as it was when the store held what it says. */
export interface WatchedFile {
  /** Size, times and place on the disk: another one means that the file may have changed. */
  signature: string;
  /** Of its documents; missing when that is one, with the file's own id. */
  ids?: string[];
  /** Of their ids and hashes: `documentsDigest`. */
  digest: string;
}

export interface WatchedFolder {
  /** Device and inode: an empty folder in place of one that had files is a disk that is not mounted. */
  identity: string;
  /** By name within the folder. */
  files: Record<string, WatchedFile>;
}

/** By absolute path. */
export type WatchRecord = Record<string, WatchedFolder>;

export const watchRecordPath = (store: string): string => join(store, 'watch.json');

/** @param documents in any order */
export function documentsDigest(documents: Iterable<{ id: string; hash: string }>): string {
  const lines = Array.from(documents, ({ id, hash }) => JSON.stringify([id, hash])).sort();
  return createHash('sha256').update(lines.join('\n')).digest('hex').slice(0, 32);
}

/** Empty when there is none that can be used. Errors: `IO`. */
export async function readWatchRecord(store: string): Promise<WatchRecord> {
  const path = watchRecordPath(store);
  if ((await pathKind(path)) !== 'file') return {};
  const bytes = await readWhole(path);
  try {
    const { format, version, crc32: sum, folders } = JSON.parse(bytes.toString('utf8'));
    const isOurs = format === FORMAT && version === VERSION;
    return isOurs && sum === crc32(JSON.stringify(folders)) ? folders : {};
  } catch {
    return {};
  }
}

/** Replaces it whole. Called under the lock. Errors: `DISK_FULL`, `IO`. */
export async function writeWatchRecord(store: string, folders: WatchRecord): Promise<void> {
  const sum = crc32(JSON.stringify(folders));
  const text = JSON.stringify({ format: FORMAT, version: VERSION, crc32: sum, folders });
  await replaceFile(watchRecordPath(store), `${text}\n`);
}
