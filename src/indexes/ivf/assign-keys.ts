/** All keys in order: coded, assigned to the nearest centroid, and their codes written to the temporary file. */
import { Breather } from '../../math/breather.ts';
import type { KeySource } from '../../math/vectors.ts';
import { bytesPerKey } from '../chunk.ts';
import type { WorkerPool } from '../worker-pool.ts';
import type { IvfProgress } from './build-ivf.ts';
import { type AssignResult, type AssignTask, blockRowsOf, type CodeScales } from './build-task.ts';

/** A list of more rows than this times the mean is stored as several of one centroid: no list can be a burden. */
const MOST_OF_MEAN = 4;
const LEAST_PART_ROWS = 256;

export interface AssignOptions {
  pools: readonly WorkerPool[];
  sources: readonly KeySource[];
  dim: number;
  n: number;
  /** k-means lists. */
  lists: number;
  /** (lists, padded) in z, shared. */
  centroids: Float32Array;
  space: CodeScales;
  file: string;
  onProgress?: (progress: IvfProgress) => void;
  signal?: AbortSignal;
}

/** Stored lists: those of k-means without the empty ones, the large ones in several parts. */
export interface Assigned {
  /** (n) the stored list of each entry, shared. */
  listOf: Uint32Array;
  /** (L) rows of each stored list. */
  rows: Uint32Array;
  /** (L) which centroid it has. */
  centroidOf: Uint32Array;
  /** (L) mean squared distance of the centroid's rows, in z. */
  spreads: Float32Array;
  /** Entries per block of the temporary file. */
  blockRows: number;
}

export async function assignKeys(options: AssignOptions): Promise<Assigned> {
  const { pools, n, lists, dim, sources } = options;
  const blockRows = blockRowsOf(bytesPerKey(sources[0]!.dtype, dim));
  const listOf = new Uint32Array(new SharedArrayBuffer(n * 4));
  const counts = new Uint32Array(lists);
  const sums = new Float64Array(lists);
  let next = 0;
  let done = 0;
  const work = async (pool: WorkerPool): Promise<void> => {
    while (next < n) {
      options.signal?.throwIfAborted();
      const run = { from: next, count: Math.min(blockRows, n - next) };
      next += run.count;
      const { centroids, space, file } = options;
      const task: AssignTask = { kind: 'assign', run, centroids, space, file };
      const found = await pool.run<AssignResult>(task);
      listOf.set(found.lists, run.from);
      for (let i = 0; i < run.count; i++) {
        counts[found.lists[i]!]!++;
        sums[found.lists[i]!]! += found.distances[i]!;
      }
      done += run.count;
      options.onProgress?.({ phase: 'assigning', done, total: n });
    }
  };
  await Promise.all(pools.map(work));
  const stored = await storedLists(listOf, counts, n);
  const spreads = Float32Array.from(stored.centroidOf, (c) => sums[c]! / counts[c]!);
  return { listOf, ...stored, spreads, blockRows };
}

/** Numbers the stored lists and renames the entries' lists to them, in place. */
async function storedLists(listOf: Uint32Array, counts: Uint32Array, n: number) {
  const most = Math.max(LEAST_PART_ROWS, MOST_OF_MEAN * Math.ceil(n / counts.length));
  const firstPart = new Uint32Array(counts.length);
  const rows: number[] = [];
  const centroidOf: number[] = [];
  for (const [c, count] of counts.entries()) {
    firstPart[c] = rows.length;
    const parts = Math.ceil(count / most);
    for (let p = 0; p < parts; p++) {
      rows.push(Math.floor((count * (p + 1)) / parts) - Math.floor((count * p) / parts));
      centroidOf.push(c);
    }
  }
  const left = Uint32Array.from(rows);
  const breather = new Breather();
  for (let i = 0; i < n; i++) {
    const c = listOf[i]!;
    let part = firstPart[c]!;
    if (left[part] === 0) part = ++firstPart[c]!;
    left[part]!--;
    listOf[i] = part;
    if ((i & 0xffff) === 0) await breather.pause();
  }
  return { rows: Uint32Array.from(rows), centroidOf: Uint32Array.from(centroidOf) };
}
