/** Writes a file of product codes: lists as workers finish them, in order, and the table last, when all is known. */
import { type FileHandle, open } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import type { WorkerPool } from '../worker-pool.ts';
import { listOffsets, type TableLayout } from './lists-file.ts';

/** Rows that a worker is given at once. */
const PART_ROWS = 16384;

export interface ListRange {
  first: number;
  end: number;
}

/** Lists [first, end), packed. */
export interface PackedLists {
  /** One after the other. */
  bytes: Uint8Array;
  /** (end - first) of each: bytes, rows, CRC-32 */
  sizes: Uint32Array;
  rows: Uint32Array;
  checksums: Uint32Array;
}

export interface ProductFileOptions {
  path: string;
  /** The table, but for what is told of each list. */
  head: Uint8Array;
  layout: TableLayout;
  /** (L) rows of each list, about: work is dealt out by them. */
  rows: Uint32Array;
  pool: WorkerPool;
  /** What a worker is asked for lists; its answer is `PackedLists`. */
  task: (lists: ListRange) => unknown;
  /** Told of rows as they are written. */
  onRows?: (done: number) => void;
  signal?: AbortSignal;
}

export async function writeProductFile(
  options: ProductFileOptions,
): Promise<{ bytes: number; tableCrc32: number }> {
  const { head, layout, path } = options;
  const file = await open(path, 'w');
  try {
    await writeLists(options, file);
    await file.write(head, 0, head.length, 0);
    await file.sync();
    const { rows, sizes } = directoryOf(head, layout);
    return { bytes: listOffsets(rows, layout, sizes).at(-1)!, tableCrc32: crc32(head) };
  } finally {
    await file.close();
  }
}

function directoryOf({ buffer }: Uint8Array, { rows, checksums, product, lists }: TableLayout) {
  return {
    rows: new Uint32Array(buffer, rows, lists),
    checksums: new Uint32Array(buffer, checksums, lists),
    sizes: new Uint32Array(buffer, product!.sizes, lists),
  };
}

async function writeLists(options: ProductFileOptions, file: FileHandle): Promise<void> {
  const { pool, head, layout, task, onRows, signal } = options;
  const directory = directoryOf(head, layout);
  const parts = partition(options.rows);
  const ready = new Map<number, PackedLists>();
  let [next, written, done] = [0, 0, 0];
  let position = layout.end;
  let writes: Promise<void> = Promise.resolve();
  const writeReady = async (): Promise<void> => {
    for (let lists = ready.get(written); lists; lists = ready.get(written)) {
      const { first } = parts[written]!;
      ready.delete(written++);
      await file.write(lists.bytes, 0, lists.bytes.length, position);
      position += lists.bytes.length;
      directory.sizes.set(lists.sizes, first);
      directory.rows.set(lists.rows, first);
      directory.checksums.set(lists.checksums, first);
      done = lists.rows.reduce((sum, rows) => sum + rows, done);
      onRows?.(done);
    }
  };
  const work = async (): Promise<void> => {
    while (next < parts.length) {
      signal?.throwIfAborted();
      const number = next++;
      ready.set(number, await pool.run<PackedLists>(task(parts[number]!)));
      writes = writes.then(writeReady);
      await writes;
    }
  };
  await Promise.all(Array.from({ length: pool.threads }, work));
}

/** Consecutive lists of about as many rows each. */
function partition(rows: Uint32Array): ListRange[] {
  const parts: ListRange[] = [];
  for (let first = 0; first < rows.length; ) {
    let end = first + 1;
    let count = rows[first]!;
    while (end < rows.length && count + rows[end]! <= PART_ROWS) count += rows[end++]!;
    parts.push({ first, end });
    first = end;
  }
  return parts;
}
