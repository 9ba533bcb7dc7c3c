/**
 * Takes the keys away from a datastore whose index holds codes of all of them: they are nearly all of its bytes.
 *
 *     codes: complete, synced, checked   →   manifest: no keys, the codes' file   →   key files removed
 *
 * A crash before the manifest is replaced leaves the datastore as it was, one after it leaves key files that no manifest
 * counts: the next writer removes them.
 */
import { KnnLMError } from '../errors.ts';
import { readManifest, writeManifest } from './manifest.ts';
import { removeLeftovers } from './store-cleanup.ts';
import type { StoreLock } from './store-lock.ts';

/** What whoever needs the keys is told. */
export const keysDropped = (store: string): KnnLMError =>
  new KnnLMError(
    'INVALID_ARGUMENT',
    `This needs the keys of ${store}, which were dropped: it has codes only. Build the documents into a store with keys for it.`,
  );

/** @param codes the file in `index/` that has the codes of every entry. Called under the lock. */
export async function dropKeyFiles(store: string, codes: string, lock: StoreLock): Promise<void> {
  const manifest = await readManifest(store);
  if (manifest.building) throw new Error('keys are dropped of finished datastores only');
  const segments = manifest.segments.map((segment) => ({ ...segment, keys: false as const }));
  await lock.check();
  const dropped = { ...manifest, segments, codes };
  await writeManifest(store, dropped);
  await removeLeftovers(store, dropped);
}
