/**
 * Exact distances in place of a server's: by the datastore's own keys, or, where only the collection has them, by keys that come with
 * the neighbors or are asked for by their entries.
 */
import { squaredDistance } from '../../math/vectors.ts';
import { CONTROL, newControl } from '../ivf/ivf-task.ts';
import type { KeyRanker } from '../key-ranker.ts';
import type { EntryRows } from '../vector-index.ts';
import type { Hit, MilvusCollection } from './milvus-collection.ts';
import type { MilvusHeader } from './milvus-header.ts';
import { firstId } from './milvus-partition.ts';

/** Keys fetched by one request. */
const AT_ONCE = 1024;

/** Neighbors ranked by one task of a worker. */
const RANKED_AT_ONCE = 65_536;

/** By the datastore's own keys. @param queries (q, d) @param found (q) whose distances are replaced. Errors: `IO`, `STORE_CORRUPT`, `ABORTED`. */
export async function rankHits(
  ranker: KeyRanker,
  { partition, dim }: MilvusHeader,
  {
    queries,
    found,
    depth,
    signal,
  }: { queries: Float32Array; found: Hit[][]; depth: number; signal: AbortSignal | undefined },
): Promise<void> {
  const first = firstId(partition);
  const control = newControl();
  const stop = () => Atomics.store(control, CONTROL.cancel, 1);
  signal?.addEventListener('abort', stop, { once: true });
  const size = Math.max(1, Math.floor(RANKED_AT_ONCE / depth));
  const parts = Array.from({ length: Math.ceil(found.length / size) }, (_, i) => i * size);
  const rank = async (start: number): Promise<void> => {
    const rows = found.slice(start, start + size);
    const { counts, pairs } = await ranker.rank({
      queries: queries.slice(start * dim, (start + rows.length) * dim),
      counts: Uint32Array.from(rows, (hits) => hits.length),
      ids: Uint32Array.from(rows.flatMap((hits) => hits.map(({ id }) => id - first))),
      control,
    });
    const bits = new Float32Array(pairs.buffer, pairs.byteOffset, pairs.length);
    let at = 0;
    for (const [i, hits] of rows.entries()) {
      const byEntry = new Map<number, Hit>();
      for (const hit of hits) byEntry.set(hit.id - first, hit);
      for (const end = at + 2 * counts[i]!; at < end; at += 2)
        byEntry.get(pairs[at]!)!.distance = bits[at + 1]!;
    }
  };
  try {
    await Promise.all(parts.map(rank));
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** By the keys that came with them, which are let go. @param query (d) */
export function measureHits(query: Float32Array, hits: Hit[]): void {
  for (const hit of hits) {
    hit.distance = squaredDistance(query, hit.key!);
    hit.key = undefined;
  }
}

/** @param queries (q, d) @returns distances in the order of the ids; +Infinity of an entry that was removed meanwhile */
export async function measureEntries(
  collection: MilvusCollection,
  { partition, dim }: MilvusHeader,
  queries: Float32Array,
  { counts, ids }: EntryRows,
): Promise<Float32Array> {
  const first = firstId(partition);
  const wanted = [...new Set(ids)].map((id) => first + id);
  const keys = new Map<number, ArrayLike<number>>();
  for (let at = 0; at < wanted.length; at += AT_ONCE) {
    const found = await collection.keys(partition.name, wanted.slice(at, at + AT_ONCE));
    for (const [id, key] of found) keys.set(id - first, key);
  }
  const out = new Float32Array(ids.length);
  let at = 0;
  for (const [row, count] of counts.entries()) {
    const query = queries.subarray(row * dim, (row + 1) * dim);
    for (const end = at + count; at < end; at++) {
      const key = keys.get(ids[at]!);
      out[at] = key ? squaredDistance(query, key) : Number.POSITIVE_INFINITY;
    }
  }
  return out;
}
