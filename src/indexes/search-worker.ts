/** A search worker: codes keys while an index opens, then answers searches. One task at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import { yieldToEventLoop } from '../worker-priority.ts';
import { ChunkView } from './chunk-view.ts';
import { IntegerProduct } from './integer-product.ts';
import { KeyReader } from './key-reader.ts';
import { PrivateRoom, ProductScanner } from './product-scanner.ts';
import { type CodeSpace, encodeQuery } from './query-code.ts';
import { DotScanner, type Scanner } from './scanner.ts';
import { checkFinite } from './search-chunks.ts';
import type {
  Encoded,
  EncodeTask,
  MeasureTask,
  PartialNeighbors,
  SearchTask,
  Statistics,
  WorkerStart,
  WorkerTask,
} from './search-task.ts';
import { TileSearch } from './tile-search.ts';
import type { Answer } from './worker-pool.ts';

/** From this many queries on a matrix product beats one scan per query (bench/search/exact.js). */
const PRODUCT_QUERIES = 6;
/** Spread over a chunk: runs of rows whose mean and variance stand for all. */
const STATISTICS_RUNS = 64;
const STATISTICS_RUN_ROWS = 256;

yieldToEventLoop();

const { worker, modules, chunks, dim, sources } = workerData as WorkerStart;
const reader = new KeyReader(sources, dim);
const views = chunks.map((chunk) => new ChunkView(chunk, modules, worker, reader));
const room = new PrivateRoom(modules);
let product: Promise<IntegerProduct | undefined> | undefined;
let space: CodeSpace | undefined;

/** Address of some keys: where they are, or read from their files, to stay if the chunk has room for keys. */
function keysAt(view: ChunkView, row: number, count: number): number {
  const { keys, rowBytes } = view.layout;
  const address = keys > 0 ? keys + row * rowBytes : view.scratch.read;
  if (sources.length > 0) view.readRows(address, row, count);
  return address;
}

function requireFinite(bad: number, view: ChunkView, row: number): void {
  if (bad === 0) return;
  throw new KnnLMError(
    'STORE_CORRUPT',
    `${bad} of the keys from entry ${view.first + row} on hold a value that is not finite. Build the datastore again, with fp32 keys if fp16 overflowed.`,
  );
}

function statistics(view: ChunkView): Statistics {
  const { layout, scratch, kernels, f64 } = view;
  const sums = f64.subarray(scratch.sums / 8, scratch.sums / 8 + dim).fill(0);
  const squares = f64.subarray(scratch.squares / 8, scratch.squares / 8 + dim).fill(0);
  const run = Math.min(STATISTICS_RUN_ROWS, layout.readRows);
  const runs = Math.min(STATISTICS_RUNS, Math.ceil(layout.rows / run));
  let total = 0;
  for (let r = 0; r < runs; r++) {
    const row = Math.floor((layout.rows * r) / runs);
    const count = Math.min(run, layout.rows - row);
    const keys = keysAt(view, row, count);
    const { isHalf } = layout;
    requireFinite(
      kernels.accumulate(keys, count, dim, isHalf, scratch.sums, scratch.squares, scratch.row),
      view,
      row,
    );
    total += count;
  }
  return { count: total, sums: sums.slice(), squares: squares.slice() };
}

function encode(view: ChunkView, { from, to, inverseUnit }: EncodeTask): Encoded {
  const { layout, scratch, kernels, f32, f64 } = view;
  const bounds = f64.subarray(scratch.bounds / 8, scratch.bounds / 8 + 3).fill(0);
  f32.fill(0, scratch.row / 4, scratch.row / 4 + layout.padded);
  for (let row = from; row < to; ) {
    const count = Math.min(layout.readRows, to - row);
    const bad = kernels.quantize(
      keysAt(view, row, count),
      count,
      dim,
      layout.padded,
      layout.isHalf,
      layout.mean,
      inverseUnit,
      layout.scale,
      layout.inverse,
      scratch.row,
      layout.codes + row * layout.padded,
      layout.scales + row * 4,
      layout.biases + row * 4,
      scratch.bounds,
    );
    requireFinite(bad, view, row);
    row += count;
  }
  const [worstError, longest, scaleSum] = bounds as unknown as [number, number, number];
  return { worstError, longestCode: Math.sqrt(longest), scaleSum };
}

/** Copies the sampled rows' codes side by side. */
function gatherSample({ layout, sample, u8, f32 }: ChunkView): void {
  for (const [i, row] of sample.entries()) {
    const code = layout.codes + row * layout.padded;
    u8.copyWithin(layout.sampleCodes + i * layout.padded, code, code + layout.padded);
    f32[layout.sampleScales / 4 + i] = f32[layout.scales / 4 + row]!;
    f32[layout.sampleBiases / 4 + i] = f32[layout.biases / 4 + row]!;
  }
}

async function search(view: ChunkView, task: SearchTask): Promise<PartialNeighbors> {
  const { k, queries, from, to } = task;
  const q = queries.length / dim;
  checkFinite(queries);
  const capacity = TileSearch.capacity(k, to - from, view.layout.blockRows);
  const integer = q >= PRODUCT_QUERIES ? await integerProduct() : undefined;
  const scanner: Scanner = integer
    ? new ProductScanner({ view, room, product: integer, space: space!, queries, capacity })
    : new DotScanner(view, encodeWide(queries, space!), capacity);
  return new TileSearch(view, space!, scanner, task).run();
}

function measure(view: ChunkView, { queries, counts, rows }: MeasureTask): Float32Array {
  const distances = new Float32Array(rows.length);
  const bits = new Uint32Array(distances.buffer);
  let at = 0;
  let start = 0;
  for (const [q, count] of counts.entries()) {
    view.f64.set(queries.subarray(q * dim, (q + 1) * dim), view.scratch.query64 / 8);
    view.distances(rows.subarray(start, start + count), (_, found) => {
      bits[at++] = found;
    });
    start += count;
  }
  return distances;
}

function encodeWide(queries: Float32Array, codeSpace: CodeSpace) {
  const range = { most: 32767, mostSum: (2 ** 31 - 1) / 255 };
  return Array.from({ length: queries.length / dim }, (_, q) =>
    encodeQuery(queries.subarray(q * dim, (q + 1) * dim), codeSpace, range),
  );
}

/** Undefined where onnxruntime is missing or inexact: the SIMD kernels then do all the work, with the same result. */
function integerProduct(): Promise<IntegerProduct | undefined> {
  product ??= IntegerProduct.create().catch(() => undefined);
  return product;
}

async function perform(task: WorkerTask): Promise<unknown> {
  switch (task.kind) {
    case 'statistics':
      return statistics(views[task.chunk]!);
    case 'encode':
      return encode(views[task.chunk]!, task);
    case 'sample':
      return gatherSample(views[task.chunk]!);
    case 'ready': {
      space = task.space;
      const needsFiles = chunks.some(({ layout }) => layout.keys === 0);
      if (needsFiles) reader.open();
      else reader.close();
      return undefined;
    }
    case 'search':
      return search(views[task.chunk]!, task);
    case 'measure':
      return measure(views[task.chunk]!, task);
  }
}

function failure(error: unknown): Answer<never> {
  if (error instanceof KnnLMError) return { error: { message: error.message, code: error.code } };
  return {
    error: { message: error instanceof Error ? (error.stack ?? error.message) : `${error}` },
  };
}

parentPort!.on('message', async (task: WorkerTask) => {
  const answer: Answer<unknown> = await perform(task).then((result) => ({ result }), failure);
  const partial = task.kind === 'search' && 'result' in answer ? answer.result : undefined;
  const { ids, distances } = (partial ?? {}) as Partial<PartialNeighbors>;
  parentPort!.postMessage(
    answer,
    ids && distances ? [ids.buffer as ArrayBuffer, distances.buffer as ArrayBuffer] : [],
  );
});
