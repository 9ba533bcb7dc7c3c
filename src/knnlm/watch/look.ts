/** What watched folders hold now, read no further than needed: files that are as they were noted are not opened. */
import type { DocumentTable } from '../../datastore/document-table.ts';
import {
  lookAtFile,
  lookAtFolder,
  type SeenFile,
  type SeenFolder,
} from '../../datastore/sources/look-at-folder.ts';
import { type DocumentDigest, digestFiles } from '../../datastore/sources/read-each.ts';
import type { ReadSettings, Skip } from '../../datastore/sources/source-types.ts';
import {
  documentsDigest,
  type WatchedFile,
  type WatchRecord,
} from '../../datastore/watch-record.ts';
import { KnnLMError } from '../../errors.ts';
import { Breather } from '../../math/breather.ts';
import type { Progress } from '../types.ts';

export interface LookedAt {
  seen: SeenFile;
  /** Watched, in which it lies. */
  folder: string;
  /**
   * `noted`: as it was when the store was last in step with it. `read`: its documents are known from reading it. `open`:
   * changed so lately that it may be half written. `failed`: it cannot be read. Of the last two nothing is concluded.
   */
  state: 'noted' | 'read' | 'open' | 'failed';
  /** Of a noted file. */
  ids: readonly string[];
  /** Of one that was read. */
  documents: readonly DocumentDigest[];
}

export interface LookedFolder extends Pick<SeenFolder, 'path' | 'identity' | 'unlistable'> {
  /** It cannot be looked at: nothing is known of what is in it. */
  isAway: boolean;
}

export interface Look {
  /** By path, in the order of folders and names. */
  files: Map<string, LookedAt>;
  folders: LookedFolder[];
  /** Milliseconds until the open files may be looked at again; undefined when there are none. */
  againInMs?: number;
}

export interface LookOptions
  extends Pick<ReadSettings, 'textColumn' | 'idColumn' | 'invalidUtf8' | 'pairs'> {
  /** Absolute paths. */
  folders: readonly string[];
  /** The store's own folder, should it lie in one of these. */
  store: string;
  settleMs: number;
  onSkip: (skip: Skip) => void;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** What is known from before. */
export interface Before {
  record: WatchRecord;
  table: DocumentTable;
  /** When each path was first seen with its signature, by the monotonic clock; kept from look to look. */
  firstSeen: Map<string, { signature: string; at: number }>;
}

/** Work that is not worth telling of. */
const SHORT_MS = 1000;

/** Errors: `ABORTED`. */
export async function look(before: Before, options: LookOptions): Promise<Look> {
  const result: Look = { files: new Map(), folders: [] };
  for (const path of options.folders) await addFolder(result, path, before, options);
  for (const path of before.firstSeen.keys())
    if (!result.files.has(path)) before.firstSeen.delete(path);
  await sortFiles(result, before, options);
  await readSettled(result, options);
  return result;
}

async function addFolder(
  result: Look,
  path: string,
  { record }: Before,
  { store, pairs, onSkip }: LookOptions,
): Promise<void> {
  const away = (reason: string): void => {
    onSkip({ source: path, reason });
    result.folders.push({ path, identity: '', unlistable: [], isAway: true });
  };
  let seen: SeenFolder;
  try {
    seen = await lookAtFolder(path, { pairs: pairs !== undefined, without: store, onSkip });
  } catch (error) {
    if (!(error instanceof KnnLMError)) throw error;
    return away(`${error.message} What is stored of it stays.`);
  }
  const { identity, unlistable, files } = seen;
  if (files.length === 0 && record[path]?.identity !== identity)
    return away('it is empty, as where a disk is not mounted; what is stored of it stays');
  result.folders.push({ path, identity, unlistable, isAway: false });
  for (const one of files) {
    // Of folders that lie in one another the first has it.
    if (result.files.has(one.file.path)) continue;
    const looked: LookedAt = { seen: one, folder: path, state: 'open', ids: [], documents: [] };
    result.files.set(one.file.path, looked);
  }
}

/** Tells which files are noted, and which have settled and are to be read. */
async function sortFiles(
  result: Look,
  { record, table, firstSeen }: Before,
  { settleMs }: LookOptions,
): Promise<void> {
  const breather = new Breather();
  const now = performance.now();
  for (const [path, looked] of result.files) {
    const { file, signature, ageMs } = looked.seen;
    const noted = record[looked.folder]?.files[file.id];
    if (noted?.signature === signature && isStored(noted, file.id, table)) {
      looked.state = 'noted';
      looked.ids = noted.ids ?? [file.id];
    } else {
      const first = firstSeen.get(path);
      const at = first?.signature === signature ? first.at : now;
      firstSeen.set(path, { signature, at });
      // By our clock, unless the file's own time says that it has rested longer.
      const left = settleMs - Math.max(now - at, ageMs);
      if (left <= 0) looked.state = 'read';
      else result.againInMs = Math.min(result.againInMs ?? left, left);
    }
    await breather.pause();
  }
}

/** Whether the store still holds what was noted: somebody may have removed it. */
function isStored({ ids, digest }: WatchedFile, own: string, table: DocumentTable): boolean {
  const documents = (ids ?? [own]).map((id) => table.find(id));
  if (documents.some((document) => document === undefined)) return false;
  return digest === documentsDigest(documents.filter((document) => document !== undefined));
}

async function readSettled(result: Look, options: LookOptions): Promise<void> {
  const { onSkip, onProgress, signal, settleMs } = options;
  const { textColumn, idColumn, invalidUtf8, pairs } = options;
  const settled = [...result.files.values()].filter(({ state }) => state === 'read');
  const files = settled.map(({ seen }) => seen.file);
  const settings = { textColumn, idColumn, invalidUtf8, pairs, onSkip, signal };
  const total = settled.reduce((sum, { seen }) => sum + seen.bytes, 0);
  const started = performance.now();
  let done = 0;
  for await (const digest of digestFiles(files, settings)) {
    const looked = result.files.get(digest.file.path)!;
    done += looked.seen.bytes;
    if (performance.now() - started > SHORT_MS)
      onProgress?.({ phase: 'looking', done, total, unit: 'bytes' });
    const after = await lookAtFile(digest.file);
    if (after?.signature !== looked.seen.signature) {
      looked.state = 'open';
      result.againInMs = Math.min(result.againInMs ?? settleMs, settleMs);
    } else if ('failure' in digest) {
      looked.state = 'failed';
      onSkip({ source: digest.file.path, reason: digest.failure });
    } else looked.documents = digest.documents;
  }
}
