/** A cheap check at every opening that catches truncated and lost files; `verifyDatastore` reads every byte. */
import { BLOCK_BYTES, checksumBytes, truncatedFile } from './checksummed-file.ts';
import { fileSize } from './files.ts';
import type { Manifest } from './manifest.ts';
import { isGrowing, segmentParts } from './segment.ts';

/** Finished files must have their size exactly; a growing one may hold more than is acknowledged. Errors: `STORE_CORRUPT`. */
export async function checkSizes(store: string, manifest: Manifest): Promise<void> {
  for (const segment of manifest.segments) {
    const growing = isGrowing(manifest, segment);
    for (const { path, bytes } of segmentParts(store, manifest, segment)) {
      const checksums = growing ? 4 * Math.floor(bytes / BLOCK_BYTES) : checksumBytes(bytes);
      await checkSize(path, bytes, growing);
      await checkSize(`${path}.crc`, checksums, growing);
    }
  }
}

async function checkSize(path: string, expected: number, growing: boolean): Promise<void> {
  const seen = (await fileSize(path)) ?? 0;
  if (growing ? seen < expected : seen !== expected) throw truncatedFile(path, expected, seen);
}
