/**
 * Opens what a manifest names while a writer may be at work: files can be gone between reading the manifest and opening
 * them, when a compaction has just replaced them. Then the new manifest is read and the opening begins again.
 */
import { type Manifest, readManifest } from './manifest.ts';

/** More than any writer can replace a manifest while files are opened, by far. */
const ROUNDS = 20;

/** @param open whose error counts only when the manifest is still the one it was given */
export async function readSnapshot<T>(
  store: string,
  open: (manifest: Manifest) => Promise<T>,
): Promise<T> {
  let manifest = await readManifest(store);
  for (let round = 1; ; round++) {
    try {
      return await open(manifest);
    } catch (error) {
      const now = await readManifest(store);
      if (round === ROUNDS || sameManifest(now, manifest)) throw error;
      manifest = now;
    }
  }
}

export const sameManifest = (a: Manifest, b: Manifest): boolean =>
  JSON.stringify(a) === JSON.stringify(b);
