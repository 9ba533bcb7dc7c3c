/**
 * Takes documents out of a datastore: their entries become ranges that no reader retrieves from. One small file is
 * replaced, so it takes milliseconds whatever the datastore's size; the bytes go with the next compaction.
 */
import type { IdRange } from '../math/vectors.ts';
import { DocumentTable } from './document-table.ts';
import { liveEntriesOf, type Manifest, readManifest, writeManifest } from './manifest.ts';
import { type DocumentSelection, selectDocuments } from './select-documents.ts';
import { concludeAdd, removeLeftovers } from './store-cleanup.ts';
import { withLock } from './store-lock.ts';
import type { DocumentRecord } from './types.ts';

export interface Removal {
  /** As they were stored, in entry order. */
  documents: DocumentRecord[];
  /** Entries of them all. */
  entries: number;
  /** Entries left. */
  remaining: number;
}

export interface RemoveOptions {
  /** Says what would be removed and changes nothing. */
  dryRun?: boolean;
  /** Of the datastore as somebody has it open: lines that are still the same are not parsed again. */
  known?: DocumentTable;
}

/**
 * Once it returns, no reader that opens or refreshes finds them, after a crash or a power cut either.
 * Errors: `INVALID_ARGUMENT` when nothing matches, an id is not stored, or a build has not finished; `STORE_LOCKED`,
 * `STORE_NOT_FOUND`, `STORE_CORRUPT`, `DISK_FULL`, `IO`.
 */
export async function removeDocuments(
  path: string,
  selection: DocumentSelection,
  { dryRun, known }: RemoveOptions = {},
): Promise<Removal> {
  if (dryRun) return await removalOf(path, await readManifest(path), selection);
  await readManifest(path);
  return await withLock(path, async (lock) => {
    const manifest = await concludeAdd(path, await readManifest(path));
    await removeLeftovers(path, manifest);
    const removal = await removalOf(path, manifest, selection, known);
    const ranges = removal.documents.map(({ start, length }): IdRange => [start, start + length]);
    const deleted = [...manifest.deleted, ...ranges].sort((a, b) => a[0] - b[0]);
    await lock.check();
    await writeManifest(path, { ...manifest, deleted });
    return removal;
  });
}

async function removalOf(
  path: string,
  manifest: Manifest,
  selection: DocumentSelection,
  known?: DocumentTable,
): Promise<Removal> {
  const documents = selectDocuments(await DocumentTable.load(path, manifest, { known }), selection);
  const entries = documents.reduce((sum, { length }) => sum + length, 0);
  return { documents, entries, remaining: liveEntriesOf(manifest) - entries };
}
