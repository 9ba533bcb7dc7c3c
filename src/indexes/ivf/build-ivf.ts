/**
 * Builds an inverted file over stored keys (Sivic and Zisserman 2003; Jégou et al. 2011, § 5): k-means lists of 8-bit codes.
 *
 * Keys are read twice at most: a sample to train on, then all of them in order, each coded and assigned to a list. Codes go
 * to a temporary file in entry order and are gathered list by list in as many passes as memory asks for. Everything
 * happens in worker threads; the header is written last, so that an interrupted build leaves the folder as it was.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, open, rename, rm } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import type { KeySource } from '../../math/vectors.ts';
import { spaceOf } from '../build-codes.ts';
import { paddedWidth } from '../chunk.ts';
import type { CodeSpace } from '../query-code.ts';
import type { Statistics } from '../search-task.ts';
import { WorkerPool } from '../worker-pool.ts';
import { assignKeys } from './assign-keys.ts';
import type { BuilderStart, CodeScales, Run } from './build-task.ts';
import { gatherLists } from './gather-lists.ts';
import {
  type IvfHeader,
  markSources,
  newHeader,
  removeOtherLists,
  syncFolder,
  writeHeader,
} from './ivf-header.ts';
import { trainCentroids } from './k-means.ts';
import { compileListKernels } from './list-kernels.ts';
import { writeTable } from './write-table.ts';

export interface BuildIvfOptions {
  /** Folder of the index files; made when missing. */
  folder: string;
  /** Keys, all of one dtype; entry ids count through them. */
  sources: readonly KeySource[];
  /** d */
  dim: number;
  /** k-means lists. Default: about 4 √n, a power of two. More lists are smaller, so that fewer rows are read. */
  lists?: number;
  /** Bytes in which lists are gathered; less memory takes more passes. Default 1 GiB. */
  memoryBytes?: number;
  /** Worker threads. Default: the processor's cores, at most 8. */
  threads?: number;
  /** Centroids and space of another index, to be kept to; without them they are learned here. */
  like?: ListSpace;
  onProgress?: (progress: IvfProgress) => void;
  signal?: AbortSignal;
}

export interface ListSpace {
  space: CodeSpace;
  /** (lists, padded) in z, shared. */
  centroids: Float32Array;
}

export interface IvfProgress {
  phase: 'training' | 'assigning' | 'writing';
  done: number;
  /** Steps of k-means, or entries. */
  total: number;
}

/** Steps of k-means. */
export const STEPS = 10;
/** Sample rows per list: fewer leave centroids noisy, more help little. */
const ROWS_PER_LIST = 64;
/** Consecutive rows per read of the sample. */
const SAMPLE_RUN = 16;
/** Of each worker. */
const MOST_SAMPLE_BYTES = 2 ** 30;
const STATISTICS_ROWS = 16384;
export const DEFAULT_MEMORY_BYTES = 2 ** 30;
/**
 * Settings before any were measured. A quarter of the spread, on 400,000 real keys and 64 of 2,052 lists: recall@1024 0.94
 * where distance alone has 0.90, and an equal error of the mixture; half the spread finds still more of the farther
 * neighbors but fewer of the nearest, which count most (bench/search/ivf.js).
 */
const FIRST_SETTINGS = { probes: 64, rerank: 0, spreadWeight: 0.25 };

/** About 4 √n lists, a power of two, and no list so small that its block wastes space. */
export function defaultLists(n: number): number {
  const wanted = 2 ** Math.round(Math.log2(4 * Math.sqrt(Math.max(n, 1))));
  return Math.max(1, Math.min(wanted, Math.floor(n / 32)));
}

/** Errors: `INVALID_ARGUMENT`, `STORE_CORRUPT`, `IO`, `DISK_FULL`, `ABORTED`. */
export async function buildIvf(options: BuildIvfOptions): Promise<IvfHeader> {
  return (await buildLists(options)).header;
}

/** As `buildIvf`. @returns and (L) which centroid each stored list has */
export async function buildLists(
  options: BuildIvfOptions,
): Promise<{ header: IvfHeader; centroidOf: Uint32Array }> {
  const { folder, sources, dim, signal } = options;
  const n = sources.reduce((sum, { count }) => sum + count, 0);
  const lists = checkOptions(options, n);
  const name = `lists-${randomBytes(6).toString('hex')}.bin`;
  const files = { codes: join(folder, `${name}.codes.tmp`), lists: join(folder, `${name}.tmp`) };
  let pools: WorkerPool[] = [];
  try {
    await mkdir(folder, { recursive: true });
    const marks = await markSources(sources, dim);
    pools = await startWorkers(options, lists, n);
    const written = await buildFile({ ...options, pools, n, lists, files });
    await rename(files.lists, join(folder, name));
    await syncFolder(folder);
    const header = newHeader({
      dim,
      entries: n,
      lists: written.lists,
      sources: marks,
      unit: written.unit,
      file: { name, bytes: written.bytes, tableCrc32: written.tableCrc32 },
      settings: FIRST_SETTINGS,
      evidence: null,
    });
    await writeHeader(folder, header);
    await removeOtherLists(folder, name);
    return { header, centroidOf: written.centroidOf };
  } catch (error) {
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'Indexing was stopped.', { cause: error });
    throw error instanceof KnnLMError || !(error as NodeJS.ErrnoException).code
      ? error
      : ioError('write', folder, error);
  } finally {
    await Promise.all(pools.map((pool) => pool.close()));
    await Promise.all(Object.values(files).map((path) => rm(path, { force: true })));
  }
}

function checkOptions({ sources, dim, lists, threads, like }: BuildIvfOptions, n: number): number {
  const refuse = (message: string) => new KnnLMError('INVALID_ARGUMENT', message);
  if (n === 0) throw refuse('There are no keys to index. Add documents first.');
  if (n >= 2 ** 31) {
    throw refuse(
      `An index holds fewer than 2^31 keys, not ${n}. Split the datastore into several.`,
    );
  }
  if (!Number.isInteger(dim) || dim < 1 || dim > 65536) {
    throw refuse(`dim must be an integer from 1 to 65536, not ${dim}.`);
  }
  const other = sources.find(({ dtype }) => dtype !== sources[0]!.dtype);
  if (other) {
    throw refuse(
      `Keys of one index must have one dtype, but ${sources[0]!.path} is ${sources[0]!.dtype} and ${other.path} is ${other.dtype}. Build the datastore again with one of them.`,
    );
  }
  if (lists !== undefined && !(Number.isInteger(lists) && lists >= 1 && lists <= n)) {
    throw refuse(`lists must be an integer from 1 to the ${n} entries, not ${lists}.`);
  }
  if (threads !== undefined && !(Number.isInteger(threads) && threads >= 1)) {
    throw refuse(`threads must be an integer of 1 or more, not ${threads}.`);
  }
  if (like) return like.centroids.length / paddedWidth(dim);
  return lists ?? defaultLists(n);
}

/** Rows that are trained on. Bounded by those a worker's memory has room for, which only matters to very wide keys. */
export function sampleSize(n: number, lists: number, dim: number, threads: number): number {
  const wanted = Math.max(lists * ROWS_PER_LIST, STATISTICS_ROWS);
  const room = Math.floor((threads * MOST_SAMPLE_BYTES) / (paddedWidth(dim) + 16));
  return Math.min(n, wanted, room);
}

async function startWorkers(
  { dim, sources, threads = Math.min(8, availableParallelism()) }: BuildIvfOptions,
  lists: number,
  n: number,
): Promise<WorkerPool[]> {
  const module = await compileListKernels();
  const runs = Math.ceil(sampleSize(n, lists, dim, threads) / SAMPLE_RUN);
  const sampleRows = Math.ceil(runs / threads) * SAMPLE_RUN;
  const start: BuilderStart = { module, dim, sources, lists, sampleRows };
  const script = new URL('./build-worker.js', import.meta.url);
  return Array.from({ length: threads }, () => new WorkerPool(script, 1, () => start));
}

interface Build extends BuildIvfOptions {
  pools: WorkerPool[];
  n: number;
  lists: number;
  files: { codes: string; lists: string };
}

async function buildFile(build: Build) {
  const { files } = build;
  const { space, centroids } = build.like ?? (await learnSpace(build));
  const scales = scalesOf(space);
  await createEmpty(files.codes);
  await createEmpty(files.lists);
  const assigned = await assignKeys({ ...build, centroids, space: scales, file: files.codes });
  const table = await writeTable({ ...assigned, centroids, space, path: files.lists });
  const { memoryBytes = DEFAULT_MEMORY_BYTES } = build;
  const checksums = await gatherLists({ ...build, ...assigned, table, memoryBytes });
  const tableCrc32 = await table.finish(checksums);
  const { centroidOf } = assigned;
  return {
    lists: table.layout.lists,
    bytes: table.bytes,
    tableCrc32,
    unit: space.unit,
    centroidOf,
  };
}

const scalesOf = ({ mean, scale, unit }: CodeSpace): CodeScales => ({
  mean,
  scale,
  inverseUnit: 1 / unit,
});

async function learnSpace(build: Build): Promise<ListSpace> {
  const { pools, n, dim, lists, signal, onProgress } = build;
  const space = await measureSpace(build);
  const { scale } = space;
  const scales = scalesOf(space);
  const sampled = await Promise.all(
    sampleRuns(n, sampleSize(n, lists, dim, pools.length), pools.length).map((runs, w) =>
      pools[w]!.run<number>({ kind: 'sample', runs, space: scales }),
    ),
  );
  const padded = paddedWidth(dim);
  const centroids = await trainCentroids({
    pools,
    sampled,
    lists,
    padded,
    scale,
    steps: STEPS,
    seed: 1,
    onStep: (done) => onProgress?.({ phase: 'training', done, total: STEPS }),
    signal,
  });
  return { space, centroids };
}

/** Center and spread of the keys, from runs of rows all over them. */
async function measureSpace({ pools, n, dim }: Build): Promise<CodeSpace> {
  const parts = await Promise.all(
    sampleRuns(n, Math.min(n, STATISTICS_ROWS), pools.length).map((runs, w) =>
      pools[w]!.run<Statistics>({ kind: 'statistics', runs }),
    ),
  );
  return spaceOf(parts, dim);
}

/** Runs of rows spread evenly over n, dealt out to workers. */
function sampleRuns(n: number, rows: number, workers: number): Run[][] {
  const count = Math.ceil(rows / SAMPLE_RUN);
  const runs: Run[][] = Array.from({ length: workers }, () => []);
  for (let r = 0; r < count; r++) {
    const from = Math.floor((n * r) / count);
    const end = Math.floor((n * (r + 1)) / count);
    runs[r % workers]!.push({ from, count: Math.min(SAMPLE_RUN, end - from) });
  }
  return runs;
}

async function createEmpty(path: string): Promise<void> {
  const file = await open(path, 'w');
  await file.close();
}
