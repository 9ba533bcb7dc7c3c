/** Reads stretches of a finished data file, every block compared with its checksum before any of it is given out. */
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../errors.ts';
import { BLOCK_BYTES, checksumBytes, truncatedFile } from './checksummed-file.ts';
import { DataFile, readWhole } from './files.ts';

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
  const checksums = await readWhole(`${path}.crc`);
  if (checksums.length !== checksumBytes(bytes))
    throw truncatedFile(`${path}.crc`, checksumBytes(bytes), checksums.length);
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
          if (read < whole.length || crc32(whole) !== checksums.readUInt32LE(block * 4))
            throw damaged(path, first, last);
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

const damaged = (path: string, first: number, last: number): KnnLMError =>
  new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: bytes ${first} to ${last} do not match their checksum. Restore it from a backup or build the datastore again.`,
  );
