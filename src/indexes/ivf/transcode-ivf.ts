/**
 * Product codes out of 8-bit ones (Jégou et al. 2011, § 4: residuals of an inverted file): the lists stay what they are,
 * their rows are coded anew, smaller. The 8-bit rows are some 0.5% off the keys, so no key is read.
 *
 * A sample's distances from their centroids give a rotation and codebooks; then the lists are coded in order, part after
 * part. The file is complete and synced before a header names it.
 */
import { randomBytes } from 'node:crypto';
import { closeSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import { WorkerPool } from '../worker-pool.ts';
import type { IvfProgress } from './build-ivf.ts';
import { type Codec, productShape } from './codec.ts';
import {
  type IvfHeader,
  newHeader,
  removeOtherLists,
  syncFolder,
  writeHeader,
} from './ivf-header.ts';
import { compileListKernels } from './list-kernels.ts';
import { tableLayout, writeHead } from './lists-file.ts';
import { type OpenTable, openTable } from './open-table.ts';
import type {
  EncodeTask,
  LoadTask,
  RotateTask,
  SampledList,
  TranscoderStart,
  TranscoderTask,
} from './transcode-task.ts';
import { writeProductFile } from './write-product-file.ts';

export interface TranscodeIvfOptions {
  /** Folder of an index with 8-bit codes. */
  folder: string;
  header: IvfHeader;
  codec: Codec;
  /** Rotation and codebooks to code by; without them they are learned here. */
  learned?: Learned;
  /** Whether the 8-bit lists stay beside, for another codec. Default false. */
  keepOthers?: boolean;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  onProgress?: (progress: IvfProgress) => void;
  signal?: AbortSignal;
}

/** Rows that codebooks are learned from: 256 to a word. */
const SAMPLE_ROWS = 65536;
const MOST_SAMPLE_BYTES = 2 ** 28;
/** Of the sampled lists, about every eighth row is taken: their neighbors say much the same. */
const ROWS_PER_SAMPLED = 8;

/** The index that takes the place of the 8-bit one. Errors: `STORE_CORRUPT`, `IO`, `DISK_FULL`, `ABORTED`. */
export async function transcodeIvf(options: TranscodeIvfOptions): Promise<IvfHeader> {
  const { folder, header, codec, signal } = options;
  const path = join(folder, header.file.name);
  const name = `lists-${randomBytes(6).toString('hex')}.bin`;
  const temporary = join(folder, `${name}.tmp`);
  let pool: WorkerPool | undefined;
  try {
    const table = openTable(path, header);
    closeSync(table.handle);
    const sample = shared(sampleRows(header) * table.layout.padded);
    const { width } = productShape(codec, header.dim);
    const parts = shared(sampleRows(header) * width);
    const module = await compileListKernels();
    const start: TranscoderStart = { module, path, header, codec, sample, parts };
    const threads = options.threads ?? Math.min(8, availableParallelism());
    const script = new URL('./transcode-worker.js', import.meta.url);
    pool = new WorkerPool(script, threads, () => start);
    const learned = options.learned ?? (await learn(pool, table, options));
    const file = await writeCodes({ ...options, pool, table, learned, temporary });
    await rename(temporary, join(folder, name));
    await syncFolder(folder);
    const { format: _, version: __, ...fields } = header;
    const settings = { ...header.settings, rerank: 0 };
    const coded = newHeader({
      ...fields,
      codec,
      file: { name, ...file },
      settings,
      evidence: null,
    });
    await writeHeader(folder, coded);
    if (!options.keepOthers) await removeOtherLists(folder, name);
    return coded;
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

const shared = (floats: number): Float32Array =>
  new Float32Array(new SharedArrayBuffer(Math.max(4, floats * 4)));

function sampleRows({ entries, dim }: IvfHeader): number {
  return Math.min(entries, SAMPLE_ROWS, Math.floor(MOST_SAMPLE_BYTES / (4 * dim)));
}

export interface Learned {
  /** (width, padded), shared. */
  rotation: Float32Array;
  /** (M, part, words), shared. */
  books: Float32Array;
}

async function learn(
  pool: WorkerPool,
  table: OpenTable,
  { header, codec, onProgress, signal }: TranscodeIvfOptions,
): Promise<Learned> {
  const { padded } = table.layout;
  const { width, part, words } = productShape(codec, header.dim);
  const total = codec.subquantizers + 2;
  let done = 0;
  const stepped = () => onProgress?.({ phase: 'training', done: ++done, total });
  const run = <R>(task: TranscoderTask): Promise<R> => {
    signal?.throwIfAborted();
    return pool.run<R>(task);
  };
  const shares = deal(sampledLists(table.rows, header.entries, sampleRows(header)), pool.threads);
  const sums = await Promise.all(
    shares.map((lists) => run<Float64Array>({ kind: 'sample', lists })),
  );
  const products = sums[0]!;
  for (const more of sums.slice(1)) for (let i = 0; i < more.length; i++) products[i]! += more[i]!;
  stepped();
  const rotation = shared(width * padded);
  rotation.set(await run<Float32Array>({ kind: 'rotation', products }));
  const rows = sampleRows(header);
  const each = Math.ceil(rows / pool.threads);
  await Promise.all(
    Array.from({ length: pool.threads }, (_, w): RotateTask => {
      const first = Math.min(rows, w * each);
      return { kind: 'rotate', rotation, first, count: Math.min(each, rows - first) };
    }).map(run),
  );
  stepped();
  const books = shared(width * words);
  await Promise.all(
    Array.from({ length: codec.subquantizers }, async (_, subquantizer) => {
      const book = await run<Float32Array>({ kind: 'book', subquantizer });
      books.set(book, subquantizer * part * words);
      stepped();
    }),
  );
  return { rotation, books };
}

/** Rows spread evenly over some lists, which are spread evenly over all. */
function sampledLists(rows: Uint32Array, entries: number, wanted: number): SampledList[] {
  const every = Math.max(1, Math.floor(entries / (ROWS_PER_SAMPLED * wanted)));
  let offered = 0;
  for (let list = 0; list < rows.length; list += every) offered += rows[list]!;
  const sampled: SampledList[] = [];
  let passed = 0;
  let first = 0;
  for (let list = 0; list < rows.length; list += every) {
    const end = Math.floor(((passed + rows[list]!) * wanted) / offered);
    const taken = Uint32Array.from(
      { length: end - first },
      (_, i) => Math.ceil(((first + i + 1) * offered) / wanted) - 1 - passed,
    );
    if (taken.length > 0) sampled.push({ list, rows: taken, first });
    first = end;
    passed += rows[list]!;
  }
  return sampled;
}

function deal<Item>(items: readonly Item[], hands: number): Item[][] {
  return Array.from({ length: hands }, (_, h) => items.filter((_, i) => i % hands === h));
}

interface Writing extends TranscodeIvfOptions {
  pool: WorkerPool;
  table: OpenTable;
  learned: Learned;
  temporary: string;
}

async function writeCodes(writing: Writing): Promise<{ bytes: number; tableCrc32: number }> {
  const { pool, table, learned, temporary, header, codec, onProgress, signal } = writing;
  const layout = tableLayout(header.dim, header.lists, codec);
  const head = new Uint8Array(layout.end);
  writeHead(head, header.dim, layout);
  head.set(table.bytes.subarray(layout.mean, layout.checksums), layout.mean);
  const { rotation, books } = layout.product!;
  new Float32Array(head.buffer, rotation).set(learned.rotation);
  new Float32Array(head.buffer, books).set(learned.books);
  await pool.broadcast({ kind: 'load', ...learned } satisfies LoadTask);
  return await writeProductFile({
    path: temporary,
    head,
    layout,
    rows: table.rows,
    pool,
    task: (lists): EncodeTask => ({ kind: 'encode', ...lists }),
    onRows: (done) => onProgress?.({ phase: 'writing', done, total: header.entries }),
    signal,
  });
}
