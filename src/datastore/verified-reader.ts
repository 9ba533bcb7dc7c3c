/** Reads stretches of a finished data file, every block compared with its checksum before any of it is given out. */
import { BLOCK_BYTES, checkBlock, readChecksums, truncatedFile } from './checksummed-file.ts';
import { DataFile } from './files.ts';

/**
 * @param file its path and the bytes that count
 * @param ranges bytes [start, end): sorted, disjoint
 * @returns the ranges' bytes in pieces of a block at most, each valid until the next is asked for
 * Errors: `STORE_CORRUPT` naming the file and the bytes, `IO`
 */
export async function* readVerified(
  file: { path: string; bytes: number },
  ranges: Iterable<readonly [start: number, end: number]>,
): AsyncGenerator<Uint8Array> {
  const { path, bytes } = file;
  if (bytes === 0) return;
  const checksums = await readChecksums(path, bytes);
  const data = await DataFile.open(path, 'r');
  const buffer = Buffer.alloc(BLOCK_BYTES);
  let loaded = -1;
  try {
    for (const [start, end] of ranges) {
      for (let at = start; at < end; ) {
        const block = Math.floor(at / BLOCK_BYTES);
        const first = block * BLOCK_BYTES;
        const last = Math.min(first + BLOCK_BYTES, bytes);
        if (loaded !== block) {
          const whole = buffer.subarray(0, last - first);
          const read = await data.read(whole, first);
          if (read < whole.length) throw truncatedFile(path, bytes, first + read);
          checkBlock(path, { block: whole, index: block, checksums });
          loaded = block;
        }
        const stop = Math.min(end, last);
        yield buffer.subarray(at - first, stop - first);
        at = stop;
      }
    }
  } finally {
    await data.close();
  }
}
