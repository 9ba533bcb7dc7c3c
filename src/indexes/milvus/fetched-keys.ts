/** Exact distances by keys that only the collection has: they come with the neighbors, or are asked for by their entries. */
import { squaredDistance } from '../../math/vectors.ts';
import type { EntryRows } from '../vector-index.ts';
import type { Hit, MilvusCollection } from './milvus-collection.ts';
import type { MilvusHeader } from './milvus-header.ts';
import { firstId } from './milvus-partition.ts';

/** Keys fetched by one request. */
const AT_ONCE = 1024;

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
