/** Stored keys as bytes: what a search for traces compares. */
import type { IdRange } from '../math/vectors.ts';
import type { Datastore } from './datastore.ts';
import { DataFile } from './files.ts';

const CHUNK_BYTES = 1024 * 1024;

/** The keys of some entries, row by row, each valid until the next is asked for. @param ranges sorted, disjoint */
export async function* keyRows(
  store: Datastore,
  ranges: readonly IdRange[],
): AsyncGenerator<Uint8Array> {
  const rowBytes = store.keyDim * (store.header.key.dtype === 'fp16' ? 2 : 4);
  const buffer = Buffer.alloc(Math.max(1, Math.floor(CHUNK_BYTES / rowBytes)) * rowBytes);
  let first = 0;
  for (const { path, count } of store.keySources()) {
    const file = await DataFile.open(path, 'r');
    try {
      for (const [start, end] of ranges) {
        const from = Math.max(start - first, 0) * rowBytes;
        const to = Math.min(end - first, count) * rowBytes;
        for (let at = from; at < to; at += buffer.length) {
          const chunk = buffer.subarray(0, Math.min(buffer.length, to - at));
          await file.read(chunk, at);
          for (let row = 0; row < chunk.length; row += rowBytes)
            yield chunk.subarray(row, row + rowBytes);
        }
      }
    } finally {
      await file.close();
    }
    first += count;
  }
}

/** Of ids [0, n) those that no range holds. @param ranges sorted, disjoint */
export function complement(ranges: readonly IdRange[], n: number): IdRange[] {
  const out: IdRange[] = [];
  let from = 0;
  for (const [start, end] of ranges) {
    if (start > from) out.push([from, start]);
    from = end;
  }
  if (n > from) out.push([from, n]);
  return out;
}
