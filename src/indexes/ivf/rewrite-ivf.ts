/**
 * Changes to an index of product codes that needs no keys: rows left out, rows added. Centroids, rotation and codebooks
 * stay, codes are copied. The new file and its header lie beside the old ones until the datastore's manifest names it
 * (`settleHeader`), so that a crash at any moment leaves one of the two.
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import type { IdRange, KeySource } from '../../math/vectors.ts';
import { WorkerPool } from '../worker-pool.ts';
import { buildLists, type IvfProgress, type ListSpace } from './build-ivf.ts';
import {
  ADDED_FOLDER,
  type IvfHeader,
  NEXT_HEADER_FILE,
  newHeader,
  syncFolder,
  writeHeader,
} from './ivf-header.ts';
import { type OpenTable, openTable } from './open-table.ts';
import type { AddedRows, RewriterStart, RewriteTask } from './rewrite-task.ts';
import { type Learned, transcodeIvf } from './transcode-ivf.ts';
import { writeProductFile } from './write-product-file.ts';

export interface RewriteIvfOptions {
  folder: string;
  header: IvfHeader;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  onProgress?: (progress: IvfProgress) => void;
  signal?: AbortSignal;
}

/** The codes of some entries, numbered anew. @param keep sorted, disjoint. Errors: `STORE_CORRUPT`, `IO`, `DISK_FULL`, `ABORTED`. */
export function filterIvf(
  options: RewriteIvfOptions & { keep: readonly IdRange[] },
): Promise<IvfHeader> {
  const { keep } = options;
  const entries = keep.reduce((sum, [start, end]) => sum + end - start, 0);
  return rewrite(options, { entries, keep, added: undefined });
}

/**
 * The codes of all entries and of the keys that came after them, coded by the same centroids and codebooks.
 * Errors: `STORE_CORRUPT`, `IO`, `DISK_FULL`, `ABORTED`.
 */
export async function appendIvf(
  options: RewriteIvfOptions & { sources: readonly KeySource[]; memoryBytes?: number },
): Promise<IvfHeader> {
  const { folder, header, sources, memoryBytes, threads, signal, onProgress } = options;
  const own = join(folder, ADDED_FOLDER);
  await rm(own, { recursive: true, force: true });
  try {
    const { dim, codec } = header;
    const { like, learned } = loadSpace(folder, header);
    const machine = { threads, signal, onProgress };
    const built = await buildLists({ folder: own, sources, dim, like, memoryBytes, ...machine });
    const coded = await transcodeIvf({
      folder: own,
      header: built.header,
      codec: codec!,
      learned,
      ...machine,
    });
    const added: AddedRows = {
      path: join(own, coded.file.name),
      header: coded,
      listOf: built.centroidOf,
      firstId: header.entries,
    };
    const entries = header.entries + coded.entries;
    return await rewrite(options, { entries, keep: undefined, added });
  } finally {
    await rm(own, { recursive: true, force: true });
  }
}

interface Change extends Pick<RewriterStart, 'keep' | 'added'> {
  /** Afterwards. */
  entries: number;
}

async function rewrite(
  { folder, header, threads, onProgress, signal }: RewriteIvfOptions,
  { entries, keep, added }: Change,
): Promise<IvfHeader> {
  const path = join(folder, header.file.name);
  const name = `lists-${randomBytes(6).toString('hex')}.bin`;
  const temporary = join(folder, `${name}.tmp`);
  let pool: WorkerPool | undefined;
  try {
    const table = openTable(path, header);
    closeSync(table.handle);
    const start: RewriterStart = { path, header, keep, added };
    const script = new URL('./rewrite-worker.js', import.meta.url);
    pool = new WorkerPool(script, threads ?? Math.min(8, availableParallelism()), () => start);
    const file = await writeProductFile({
      path: temporary,
      head: table.bytes.slice(),
      layout: table.layout,
      rows: table.rows,
      pool,
      task: (lists): RewriteTask => ({ kind: 'rewrite', ...lists }),
      onRows: (done) => onProgress?.({ phase: 'writing', done, total: entries }),
      signal,
    });
    await rename(temporary, join(folder, name));
    await syncFolder(folder);
    const { format: _, version: __, ...fields } = header;
    const changed = newHeader({ ...fields, entries, file: { name, ...file } });
    await writeHeader(folder, changed, NEXT_HEADER_FILE);
    return changed;
  } catch (error) {
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'Indexing was stopped.', { cause: error });
    throw error instanceof KnnLMError || !(error as NodeJS.ErrnoException).code
      ? error
      : ioError('write', folder, error);
  } finally {
    await pool?.close();
    await rm(temporary, { force: true });
  }
}

/** What lists and codes of an index are made by. */
function loadSpace(folder: string, header: IvfHeader): { like: ListSpace; learned: Learned } {
  const table = openTable(join(folder, header.file.name), header);
  closeSync(table.handle);
  const { rotation, books, end } = table.layout.product!;
  const floats = (from: number, to: number): Float32Array => {
    const out = new Float32Array(new SharedArrayBuffer(to - from));
    out.set(new Float32Array(table.bytes.buffer, from, (to - from) / 4));
    return out;
  };
  return {
    like: { space: table.space, centroids: decodedCentroids(table) },
    learned: { rotation: floats(rotation, books), books: floats(books, end) },
  };
}

/** (L, padded) in z, shared. */
function decodedCentroids({ layout, bytes, space }: OpenTable): Float32Array {
  const { lists, padded } = layout;
  const centroids = new Float32Array(new SharedArrayBuffer(lists * padded * 4));
  const scales = new Float32Array(bytes.buffer, layout.scales, lists);
  for (let l = 0; l < lists; l++) {
    for (let j = 0; j < space.dim; j++) {
      const code = bytes[layout.codes + l * padded + j]! - 128;
      centroids[l * padded + j] = scales[l]! * space.scale[j]! * code;
    }
  }
  return centroids;
}
