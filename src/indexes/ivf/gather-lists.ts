/** Codes in entry order → codes list by list, in as many passes over the temporary file as the memory given asks for. */
import type { WorkerPool } from '../worker-pool.ts';
import type { Assigned } from './assign-keys.ts';
import type { IvfProgress } from './build-ivf.ts';
import type { PlaceResult, PlaceTask } from './build-task.ts';
import { listOffsets } from './lists-file.ts';
import type { Table } from './write-table.ts';

/** Most bytes of a part, so that no typed array grows too large. */
const MOST_PART_BYTES = 2 ** 30;

export interface GatherOptions extends Assigned {
  pools: readonly WorkerPool[];
  n: number;
  files: { codes: string; lists: string };
  table: Table;
  memoryBytes: number;
  onProgress?: (progress: IvfProgress) => void;
  signal?: AbortSignal;
}

/** @returns (L) CRC-32 of each list */
export async function gatherLists(options: GatherOptions): Promise<Uint32Array> {
  const { pools, rows, table, files, listOf, blockRows, n } = options;
  const offsets = listOffsets(rows, table.layout);
  const checksums = new Uint32Array(rows.length);
  const most = Math.min(MOST_PART_BYTES, options.memoryBytes / pools.length);
  const parts = partition(offsets, most, pools.length);
  let next = 0;
  let done = 0;
  const work = async (pool: WorkerPool): Promise<void> => {
    while (next < parts.length) {
      options.signal?.throwIfAborted();
      const [first, end] = parts[next++]!;
      const task: PlaceTask = {
        kind: 'place',
        first,
        rows: rows.slice(first, end),
        listOf,
        blockRows,
        from: files.codes,
        to: files.lists,
        offset: offsets[first]!,
      };
      checksums.set(await pool.run<PlaceResult>(task), first);
      for (const count of task.rows) done += count;
      options.onProgress?.({ phase: 'writing', done, total: n });
    }
  };
  await Promise.all(pools.map(work));
  return checksums;
}

/** Ranges of lists of at most so many bytes, and at least one per worker while there are lists enough. */
function partition(offsets: Float64Array, mostBytes: number, workers: number): [number, number][] {
  const lists = offsets.length - 1;
  const total = offsets[lists]! - offsets[0]!;
  const target = Math.min(mostBytes, Math.ceil(total / workers));
  const parts: [number, number][] = [];
  for (let first = 0; first < lists; ) {
    let end = first + 1;
    while (end < lists && offsets[end + 1]! - offsets[first]! <= target) end++;
    parts.push([first, end]);
    first = end;
  }
  return parts;
}
