/** Stored keys of some entries, as numbers. */
import { type FileHandle, open } from 'node:fs/promises';
import { ioError, KnnLMError } from '../errors.ts';
import { halfToFloats } from '../math/half.ts';
import type { KeySource } from '../math/vectors.ts';
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

async function readKey(
  file: FileHandle,
  { path, dtype, byteOffset }: KeySource,
  row: number,
  out: Float32Array,
): Promise<void> {
  const bytes = new Uint8Array(bytesPerKey(dtype, out.length));
  const position = byteOffset + row * bytes.length;
  const { bytesRead } = await file.read(bytes, 0, bytes.length, position);
  if (bytesRead < bytes.length) {
    throw new KnnLMError(
      'STORE_CORRUPT',
      `Key file ${path} ends at byte ${position + bytesRead}, but a key should reach byte ${position + bytes.length}. Restore the file or build the datastore again.`,
    );
  }
  if (dtype === 'fp16') halfToFloats(out, new Uint16Array(bytes.buffer));
  else out.set(new Float32Array(bytes.buffer));
}
