/** How a folder becomes one that may be written: new, continued, or with a segment more. */
import { KnnLMError } from '../errors.ts';
import { checkBuildFolder, refuseFinished } from './build-target.ts';
import { makeFolder, pathKind, removeTree } from './files.ts';
import {
  checkSameHeader,
  createManifest,
  type Manifest,
  manifestPath,
  readManifest,
  type StoreHeader,
  writeManifest,
} from './manifest.ts';
import { segmentFolder } from './segment.ts';
import { entriesElsewhere } from './value-source.ts';

/** `build` makes a datastore or goes on with a half-built one; `add` gives a finished one a new segment. */
export type WriteMode = 'build' | 'add';

/** Makes room for a new datastore, or refuses the path, before anything is written. */
export async function prepareFolder(path: string, mode: WriteMode): Promise<void> {
  if (mode === 'add') {
    await readManifest(path);
    return;
  }
  await checkBuildFolder(path);
  if ((await pathKind(path)) === 'missing') await makeFolder(path);
}

/** The manifest to write under: a new one, or the stored one if it may be continued. Called under the lock. */
export async function openManifest(
  path: string,
  header: StoreHeader,
  mode: WriteMode,
): Promise<Manifest> {
  if (mode === 'build' && (await pathKind(manifestPath(path))) === 'missing') {
    const created = createManifest(header);
    await writeManifest(path, created);
    return created;
  }
  const manifest = await readManifest(path);
  if (mode === 'build') refuseFinished(path, manifest);
  if (mode === 'add' && manifest.building?.mode === 'build')
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${path} is not fully built. Run the same build again to finish it, then add.`,
    );
  checkSameHeader(manifest, header);
  if (manifest.remote) throw entriesElsewhere(path);
  if (manifest.building) return manifest;
  const number = 1 + Math.max(...manifest.segments.map(({ name }) => Number(name)));
  const name = String(number).padStart(6, '0');
  manifest.segments.push({ name, entries: 0, documents: 0, documentBytes: 0 });
  manifest.building = { mode: 'add', document: null };
  await writeManifest(path, manifest);
  return manifest;
}

/** An add of which nothing was acknowledged leaves nothing behind: the store is finished again, as it was. */
export async function withdrawEmptyAdd(path: string): Promise<void> {
  const manifest = await readManifest(path);
  const segment = manifest.segments.at(-1)!;
  const { mode, document } = manifest.building ?? {};
  if (mode !== 'add' || document || segment.documents > 0) return;
  const segments = manifest.segments.slice(0, -1);
  await writeManifest(path, { ...manifest, segments, building: null });
  const folder = segmentFolder(path, segment.name);
  if ((await pathKind(folder)) === 'folder') await removeTree(folder);
}
