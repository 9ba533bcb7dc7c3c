/** Stored keys of some entries, as numbers, or of consecutive ones as they are stored. */
import { type FileHandle, open } from 'node:fs/promises';
import { ioError, KnnLMError } from '../errors.ts';
import { halfToFloats } from '../math/half.ts';
import type { IdRange, KeySource } from '../math/vectors.ts';
import { bytesPerKey } from './chunk.ts';

/** @param ids ascending entry ids @returns (ids, d). Errors: `IO`, `STORE_CORRUPT` for a file that ends too early. */
export async function readKeys(
  sources: readonly KeySource[],
  dim: number,
  ids: ArrayLike<number>,
): Promise<Float32Array> {
  const keys = new Float32Array(ids.length * dim);
  let start = 0;
  let i = 0;
  for (const source of sources) {
    const end = start + source.count;
    if (i < ids.length && ids[i]! < end) {
      const file = await open(source.path, 'r').catch((cause) => {
        throw ioError('open', source.path, cause);
      });
      try {
        for (; i < ids.length && ids[i]! < end; i++) {
          const key = keys.subarray(i * dim, (i + 1) * dim);
          await readKey(file, source, ids[i]! - start, key);
        }
      } finally {
        await file.close();
      }
    }
    start = end;
  }
  if (i < ids.length) throw new Error(`Entry ${ids[i]} is not among ${start} keys.`);
  return keys;
}

/** @returns the bytes of entries [start, end). Errors: as `readKeys`. */
export async function readKeyBytes(
  sources: readonly KeySource[],
  dim: number,
  [start, end]: IdRange,
): Promise<Uint8Array> {
  const rowBytes = bytesPerKey(sources[0]!.dtype, dim);
  const bytes = new Uint8Array((end - start) * rowBytes);
  let first = 0;
  for (const source of sources) {
    const from = Math.max(start, first);
    const to = Math.min(end, first + source.count);
    if (from < to) {
      const file = await open(source.path, 'r').catch((cause) => {
        throw ioError('open', source.path, cause);
      });
      try {
        const part = bytes.subarray((from - start) * rowBytes, (to - start) * rowBytes);
        await readFully(file, source, part, source.byteOffset + (from - first) * rowBytes);
      } finally {
        await file.close();
      }
    }
    first += source.count;
  }
  return bytes;
}

async function readKey(
  file: FileHandle,
  source: KeySource,
  row: number,
  out: Float32Array,
): Promise<void> {
  const { dtype } = source;
  const bytes = new Uint8Array(bytesPerKey(dtype, out.length));
  await readFully(file, source, bytes, source.byteOffset + row * bytes.length);
  if (dtype === 'fp16') halfToFloats(out, new Uint16Array(bytes.buffer));
  else out.set(new Float32Array(bytes.buffer));
}

async function readFully(
  file: FileHandle,
  { path }: KeySource,
  target: Uint8Array,
  position: number,
): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) {
      throw new KnnLMError(
        'STORE_CORRUPT',
        `Key file ${path} ends at byte ${position + done}, but keys should reach byte ${position + target.length}. Restore the file or build the datastore again.`,
      );
    }
    done += bytesRead;
  }
}
