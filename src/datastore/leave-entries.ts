/**
 * Takes the files of keys and values away, of which a server has every entry: the folder keeps documents and the manifest.
 *
 *     every entry read back from the server   →   manifest: remote   →   files of keys and values removed
 *
 * A crash before the manifest is replaced leaves the datastore as it was, one after it leaves files that no manifest counts:
 * the next writer removes them.
 */
import { readManifest, writeManifest } from './manifest.ts';
import { removeLeftovers } from './store-cleanup.ts';
import type { StoreLock } from './store-lock.ts';

/** Called under the lock. */
export async function leaveEntries(store: string, lock: StoreLock): Promise<void> {
  const manifest = await readManifest(store);
  if (manifest.building)
    throw new Error('only entries of finished datastores are left to a server');
  await lock.check();
  const left = { ...manifest, remote: true as const };
  await writeManifest(store, left);
  await removeLeftovers(store, left);
}
