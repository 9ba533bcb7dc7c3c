/** Where a datastore may be built. Checked once before the model is loaded, so that nobody waits for a refusal, and again under the lock. */
import { dirname, resolve } from 'node:path';
import { KnnLMError } from '../errors.ts';
import { checkWritable, listFolder, pathKind } from './files.ts';
import { ADDRESS, type Manifest, manifestPath, readManifest } from './manifest.ts';

/** Names that an interrupted start leaves in a folder. */
const isOurLeftover = (name: string): boolean =>
  name === 'manifest.json.tmp' || name === 'lock' || name.startsWith('lock.');

/** Refuses what `DatastoreWriter.open` would refuse for what lies at the path. Writes nothing. Errors: `STORE_EXISTS`, `INVALID_ARGUMENT`, `IO`. */
export async function checkBuildTarget(path: string): Promise<void> {
  await checkBuildFolder(path);
  if ((await pathKind(manifestPath(path))) === 'file')
    refuseFinished(path, await readManifest(path));
  await checkWritable(await existingParent(path));
}

/** Refuses a path that is something else than a datastore or room for one. */
export async function checkBuildFolder(path: string): Promise<void> {
  if (ADDRESS.test(path))
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${path} is an address, and a datastore is built in a folder. Give that as --out, and the address as --index.`,
    );
  const kind = await pathKind(path);
  if (kind === 'file' || kind === 'other')
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${path} is a file; a datastore is a folder. Give another --out.`,
    );
  if (kind === 'missing') {
    const parent = await existingParent(path);
    if ((await pathKind(parent)) !== 'folder')
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `${path} cannot be made: ${parent} is a file, not a folder. Give another --out.`,
      );
    return;
  }
  if ((await pathKind(manifestPath(path))) === 'file') return;
  const foreign = (await listFolder(path)).find((name) => !isOurLeftover(name));
  if (foreign !== undefined)
    throw new KnnLMError(
      'STORE_EXISTS',
      `${path} is not empty (it holds ${foreign}) and not a datastore. Give a new or empty folder.`,
    );
}

export function refuseFinished(path: string, manifest: Manifest): void {
  if (manifest.building?.mode === 'build') return;
  throw new KnnLMError(
    'STORE_EXISTS',
    `${path} is already a finished datastore. Add to it: knnlm add ${path} DOCS..., or give another --out.`,
  );
}

/** The path itself, or the nearest folder above it that exists. */
async function existingParent(path: string): Promise<string> {
  let place = resolve(path);
  while ((await pathKind(place)) === 'missing' && dirname(place) !== place) place = dirname(place);
  return place;
}
