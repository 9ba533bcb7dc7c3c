/** Puts a store in order before it is changed: what crashed writers left behind goes, an interrupted add is concluded. */
import { join } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { listFolder, pathKind, removeFile, removeTree } from './files.ts';
import { type Manifest, manifestPath, writeManifest } from './manifest.ts';
import { withdrawEmptyAdd } from './open-for-writing.ts';
import { keyFile, valueFile } from './segment.ts';
import { SegmentWriter } from './segment-writer.ts';
import { watchRecordPath } from './watch-record.ts';

/** Files and folders in a store that no manifest counts and that crashed writers left, as absolute paths. */
export async function findLeftovers(store: string, manifest: Manifest): Promise<string[]> {
  const left: string[] = [];
  for (const path of [manifestPath(store), watchRecordPath(store)]) {
    const temporary = `${path}.tmp`;
    if ((await pathKind(temporary)) !== 'missing') left.push(temporary);
  }
  const folder = join(store, 'segments');
  if ((await pathKind(folder)) !== 'folder') return left;
  const counted = new Set(manifest.segments.map(({ name }) => name));
  for (const name of await listFolder(folder)) {
    // Only what this program names so: a user's own file is not ours to remove.
    if (/^\d{6,}$/.test(name) && !counted.has(name)) left.push(join(folder, name));
  }
  // Keys that were dropped, or entries left to a server, when that was not brought to its end.
  for (const segment of manifest.segments) {
    const names = [];
    if (segment.keys === false || manifest.remote) names.push(keyFile(manifest));
    if (manifest.remote) names.push(valueFile(manifest));
    for (const name of names.flatMap((one) => [one, `${one}.crc`])) {
      const file = join(folder, segment.name, name);
      if ((await pathKind(file)) === 'file') left.push(file);
    }
  }
  return left;
}

/** Called under the lock. @returns what was removed */
export async function removeLeftovers(store: string, manifest: Manifest): Promise<string[]> {
  const left = await findLeftovers(store, manifest);
  for (const path of left) {
    if ((await pathKind(path)) === 'folder') await removeTree(path);
    else await removeFile(path);
  }
  return left;
}

/**
 * Makes an interrupted add a finished one of the documents it had acknowledged whole. Called under the lock.
 * @returns the manifest to go on with. Errors: `INVALID_ARGUMENT` for a build that has not finished.
 */
export async function concludeAdd(store: string, manifest: Manifest): Promise<Manifest> {
  if (!manifest.building) return manifest;
  if (manifest.building.mode === 'build') {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${store} is not fully built. Run the same build again to finish it first.`,
    );
  }
  // The manifest lets go of the partial document before its entries are cut off.
  const whole: Manifest = { ...manifest, building: { mode: 'add', document: null } };
  if (manifest.building.document) await writeManifest(store, whole);
  if (whole.segments.at(-1)!.documents === 0) {
    await withdrawEmptyAdd(store);
    return { ...whole, segments: whole.segments.slice(0, -1), building: null };
  }
  const segment = await SegmentWriter.open(store, whole);
  try {
    await segment.seal();
  } finally {
    await segment.close();
  }
  const concluded: Manifest = { ...whole, building: null };
  await writeManifest(store, concluded);
  return concluded;
}
