/**
 * Exact distances in place of a server's: by the datastore's own keys, or, where only the collection has them, by keys that are asked
 * for by their entries.
 */
import { squaredDistance } from '../../math/vectors.ts';
import { CONTROL, newControl } from '../ivf/ivf-task.ts';
import type { KeyRanker } from '../key-ranker.ts';
import type { EntryRows } from '../vector-index.ts';
import type { Hits, RankedHits } from './hits.ts';
import type { MilvusCollection } from './milvus-collection.ts';
import type { MilvusHeader } from './milvus-header.ts';
import { firstId } from './milvus-partition.ts';

/** Keys fetched by one request. */
const AT_ONCE = 1024;

/** Neighbors ranked by one task of a worker: no fewer than are worth a message, no more than one waits for. */
const RANKED_AT_LEAST = 256;
const RANKED_AT_ONCE = 65_536;

/** Some of a query's hits, from a place up to another. */
interface Piece {
  row: number;
  from: number;
  to: number;
}

/**
 * By the datastore's own keys, in all workers at a time: a single query's hits too are shared out.
 * @param queries (q, d)
 * @param found (q)
 * @returns (q) Errors: `IO`, `STORE_CORRUPT`, `ABORTED`.
 */
export async function rankHits(
  ranker: KeyRanker,
  { queries, found, signal }: { queries: Float32Array; found: Hits[]; signal?: AbortSignal },
): Promise<RankedHits[]> {
  const control = newControl();
  const stop = () => Atomics.store(control, CONTROL.cancel, 1);
  signal?.addEventListener('abort', stop, { once: true });
  const dim = queries.length / found.length;
  const rank = async (pieces: readonly Piece[]): Promise<RankedHits[]> => {
    const parts = pieces.map(({ row, from, to }) => found[row]!.ids.subarray(from, to));
    const { places, distances } = await ranker.rank({
      queries: joined(
        Float32Array,
        pieces.map(({ row }) => queries.subarray(row * dim, (row + 1) * dim)),
      ),
      counts: Uint32Array.from(parts, (ids) => ids.length),
      ids: joined(Uint32Array, parts),
      control,
    });
    let at = 0;
    return pieces.map(({ from, to }) => {
      const [start, end] = [at, (at += to - from)];
      return {
        places: places.subarray(start, end).map((place) => place - start + from),
        distances: distances.subarray(start, end),
      };
    });
  };
  try {
    const tasks = sharedOut(found, ranker.threads);
    const ranked = (await Promise.all(tasks.map(rank))).flat();
    const rows: RankedHits[] = [];
    for (const [i, { row }] of tasks.flat().entries())
      rows[row] = rows[row] ? merged(rows[row], ranked[i]!, found[row]!) : ranked[i]!;
    return rows;
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

/** Tasks of about the same size. */
function sharedOut(found: readonly Hits[], threads: number): Piece[][] {
  const all = found.reduce((sum, { ids }) => sum + ids.length, 0);
  const share = Math.max(RANKED_AT_LEAST, Math.min(RANKED_AT_ONCE, Math.ceil(all / threads)));
  const tasks: Piece[][] = [[]];
  let room = share;
  for (const [row, { ids }] of found.entries()) {
    let from = 0;
    do {
      if (room <= 0) {
        tasks.push([]);
        room = share;
      }
      // Only what fills a task by itself is cut.
      const to = ids.length - from > share ? from + room : ids.length;
      tasks.at(-1)!.push({ row, from, to });
      room -= to - from;
      from = to;
    } while (from < ids.length);
  }
  return tasks;
}

/** Nearest first, equal ones in ascending id. */
function merged(a: RankedHits, b: RankedHits, { ids }: Hits): RankedHits {
  const n = a.places.length + b.places.length;
  const places = new Uint32Array(n);
  const distances = new Float32Array(n);
  for (let i = 0, j = 0; i + j < n; ) {
    const by = a.distances[i]! - b.distances[j]! || ids[a.places[i]!]! - ids[b.places[j]!]!;
    const takesFirst = j === b.places.length || by < 0;
    const at = i + j;
    const [from, place] = takesFirst ? [a, i++] : [b, j++];
    places[at] = from.places[place]!;
    distances[at] = from.distances[place]!;
  }
  return { places, distances };
}

function joined<Numbers extends Float32Array | Uint32Array>(
  Type: new (length: number) => Numbers,
  parts: readonly Numbers[],
): Numbers {
  const all = new Type(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
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
