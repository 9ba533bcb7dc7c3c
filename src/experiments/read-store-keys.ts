/** Keys of a datastore as numbers in memory: for the experiments that change them. */
import type { Datastore } from '../datastore/datastore.ts';
import { DataFile } from '../datastore/files.ts';
import { Breather } from '../math/breather.ts';
import { halfToFloats } from '../math/half.ts';

const ROWS_AT_ONCE = 4096;

/** @returns (at most `most`, d) the first keys, row-major */
export async function readStoreKeys(store: Datastore, most: number): Promise<Float32Array> {
  const d = store.keyDim;
  const keys = new Float32Array(Math.min(store.entries, most) * d);
  const breather = new Breather();
  let done = 0;
  for (const { path, dtype, count, byteOffset } of store.keySources()) {
    const width = dtype === 'fp16' ? 2 : 4;
    const file = await DataFile.open(path, 'r');
    try {
      for (let row = 0; row < count && done < keys.length; row += ROWS_AT_ONCE) {
        const values = Math.min(Math.min(ROWS_AT_ONCE, count - row) * d, keys.length - done);
        const bytes = new Uint8Array(values * width);
        await file.read(bytes, byteOffset + row * d * width);
        const out = keys.subarray(done, done + values);
        if (dtype === 'fp16') halfToFloats(out, new Uint16Array(bytes.buffer));
        else out.set(new Float32Array(bytes.buffer));
        done += values;
        await breather.pause();
      }
    } finally {
      await file.close();
    }
  }
  return keys;
}
