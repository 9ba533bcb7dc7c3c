/** A worker that builds an inverted file: reads and codes keys, trains, assigns, gathers lists. One task at a time. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import { bytesPerKey, paddedWidth } from '../chunk.ts';
import { IntegerProduct } from '../integer-product.ts';
import { KeyReader } from '../key-reader.ts';
import type { Statistics } from '../search-task.ts';
import type { Answer } from '../worker-pool.ts';
import {
  type AssignResult,
  type AssignTask,
  type BuilderStart,
  type BuilderTask,
  blockRowsOf,
  type CodeScales,
  codedRowBytes,
  type PlaceResult,
  type PlaceTask,
  type Run,
  type SampleTask,
  type StatisticsTask,
  type StepResult,
} from './build-task.ts';
import { CentroidProduct, type CodedRows } from './centroid-product.ts';
import { KernelMemory, Layout } from './list-kernels.ts';
import { listLayout, roundUp } from './lists-file.ts';

const { module, dim, sources, lists, sampleRows } = workerData as BuilderStart;
const padded = paddedWidth(dim);
const dtype = sources[0]!.dtype;
const isHalf = dtype === 'fp16';
const rowBytes = bytesPerKey(dtype, dim);
const blockRows = blockRowsOf(rowBytes);
const reader = new KeyReader(sources, dim);

const layout = new Layout();
const at = {
  mean: layout.take(padded * 4),
  scale: layout.take(padded * 4),
  inverse: layout.take(padded * 4),
  row: layout.take(padded * 4),
  bounds: layout.take(24),
  sums: layout.take(dim * 8),
  squares: layout.take(dim * 8),
  keys: layout.take(blockRows * rowBytes + 16),
  codes: layout.take(blockRows * padded),
  scales: layout.take(blockRows * 4),
  biases: layout.take(blockRows * 4),
  which: layout.take(Math.max(blockRows, sampleRows) * 4),
  best: layout.take(Math.max(blockRows, sampleRows) * 4),
  product: CentroidProduct.layout(layout, lists, padded),
  totals: layout.take(lists * padded * 4),
  sampleCodes: layout.take(sampleRows * padded),
  sampleScales: layout.take(sampleRows * 4),
  sampleBiases: layout.take(sampleRows * 4),
};
const memory = new KernelMemory(module, layout.end);
const { kernels, u8, u32, f32, f64 } = memory;
let sampled = 0;
let scaleOf = new Float32Array(dim);
let centroidProduct: CentroidProduct | undefined;
let loaded: Float32Array | undefined;

function readKeys({ from, count }: Run): void {
  reader.read(u8.subarray(at.keys, at.keys + count * rowBytes), from);
}

function requireFinite(bad: number, { from }: Run): void {
  if (bad === 0) return;
  throw new KnnLMError(
    'STORE_CORRUPT',
    `${bad} of the keys from entry ${from} on hold a value that is not finite. Build the datastore again, with fp32 keys if fp16 overflowed.`,
  );
}

function statistics({ runs }: StatisticsTask): Statistics {
  const sums = f64.subarray(at.sums / 8, at.sums / 8 + dim).fill(0);
  const squares = f64.subarray(at.squares / 8, at.squares / 8 + dim).fill(0);
  let total = 0;
  for (const run of runs) {
    readKeys(run);
    const { sums: s, squares: t } = at;
    requireFinite(kernels.accumulate(at.keys, run.count, dim, isHalf, s, t, at.row), run);
    total += run.count;
  }
  return { count: total, sums: sums.slice(), squares: squares.slice() };
}

function setSpace({ mean, scale }: CodeScales): void {
  f32.fill(0, at.mean / 4, at.row / 4 + padded);
  f32.set(mean, at.mean / 4);
  f32.set(scale, at.scale / 4);
  for (const [j, s] of scale.entries()) f32[at.inverse / 4 + j] = 1 / s;
  scaleOf = scale.slice();
}

/**
 * Reads and codes rows. The kernel's bias is ‖a s⊙c‖² - e², for a bound; an estimate wants + e², the rounding error's
 * expected part of a squared distance, and e² is a² Σ s² / 12 when errors are uniform, as they are to a few percent.
 */
function encode(run: Run, { inverseUnit }: CodeScales, to: Omit<CodedRows, 'count'>): void {
  readKeys(run);
  const bad = kernels.quantize(
    at.keys,
    run.count,
    dim,
    padded,
    isHalf,
    at.mean,
    inverseUnit,
    at.scale,
    at.inverse,
    at.row,
    to.codes,
    to.scales,
    to.biases,
    at.bounds,
  );
  requireFinite(bad, run);
  const rounding = scaleOf.reduce((sum, s) => sum + s * s, 0) / 6;
  for (let i = 0; i < run.count; i++) {
    f32[to.biases / 4 + i]! += f32[to.scales / 4 + i]! ** 2 * rounding;
  }
}

function sample({ runs, space }: SampleTask): number {
  setSpace(space);
  for (const run of runs) {
    encode(run, space, {
      codes: at.sampleCodes + sampled * padded,
      scales: at.sampleScales + sampled * 4,
      biases: at.sampleBiases + sampled * 4,
    });
    sampled += run.count;
  }
  return sampled;
}

/** @returns (rows, padded) decoded rows, in z */
function seeds(rows: Uint32Array): Float32Array {
  const out = new Float32Array(rows.length * padded);
  for (const [i, row] of rows.entries()) {
    const a = f32[at.sampleScales / 4 + row]!;
    for (let j = 0; j < dim; j++) {
      out[i * padded + j] = a * scaleOf[j]! * (u8[at.sampleCodes + row * padded + j]! - 128);
    }
  }
  return out;
}

async function loadCentroids(centroids: Float32Array): Promise<CentroidProduct> {
  centroidProduct ??= new CentroidProduct(
    memory,
    await IntegerProduct.create(),
    padded,
    at.product,
  );
  centroidProduct.load(centroids, scaleOf);
  return centroidProduct;
}

async function step(centroids: Float32Array): Promise<StepResult> {
  const product = await loadCentroids(centroids);
  const rows: CodedRows = {
    codes: at.sampleCodes,
    scales: at.sampleScales,
    biases: at.sampleBiases,
    count: sampled,
  };
  await product.assign(rows, at.which, at.best);
  const sums = f32.subarray(at.totals / 4, at.totals / 4 + lists * padded).fill(0);
  kernels.addToSums(rows.codes, rows.scales, at.which, sampled, padded, at.totals);
  const counts = new Uint32Array(lists);
  let inertia = 0;
  for (let i = 0; i < sampled; i++) {
    counts[u32[at.which / 4 + i]!]!++;
    inertia += f32[at.best / 4 + i]!;
  }
  return { sums: sums.slice(), counts, inertia };
}

async function assign({ run, centroids, space, file }: AssignTask): Promise<AssignResult> {
  const { from, count } = run;
  if (!loaded) {
    setSpace(space);
    await loadCentroids(centroids);
    loaded = centroids;
  }
  const { codes, scales, biases } = at;
  encode(run, space, { codes, scales, biases });
  await centroidProduct!.assign({ codes, scales, biases, count }, at.which, at.best);
  const start = from * codedRowBytes(padded);
  withFile(file, 'r+', (handle) => {
    writeFully(handle, u8.subarray(codes, codes + count * padded), start);
    writeFully(handle, u8.subarray(scales, scales + count * 4), start + count * padded);
    writeFully(handle, u8.subarray(biases, biases + count * 4), start + count * (padded + 4));
  });
  return {
    run,
    lists: u32.slice(at.which / 4, at.which / 4 + count),
    distances: f32.slice(at.best / 4, at.best / 4 + count),
  };
}

function place({ first, rows, listOf, blockRows: step, from, to, offset }: PlaceTask): PlaceResult {
  const starts = new Float64Array(rows.length + 1);
  for (let l = 0; l < rows.length; l++) {
    starts[l + 1] = starts[l]! + listLayout(rows[l]!, padded).bytes;
  }
  const target = Buffer.alloc(starts[rows.length]!);
  const views = Array.from(rows, (count, l) => listViews(target, starts[l]!, count));
  const block = new Uint8Array(step * codedRowBytes(padded));
  const filled = new Uint32Array(rows.length);
  withFile(from, 'r', (handle) => {
    for (let row = 0; row < listOf.length; row += step) {
      const count = Math.min(step, listOf.length - row);
      readFully(
        handle,
        block.subarray(0, count * codedRowBytes(padded)),
        row * codedRowBytes(padded),
      );
      const scales = new Float32Array(block.buffer, count * padded, count);
      const biases = new Float32Array(block.buffer, count * (padded + 4), count);
      for (let i = 0; i < count; i++) {
        const l = listOf[row + i]! - first;
        if (l < 0 || l >= rows.length) continue;
        const view = views[l]!;
        const slot = filled[l]!++;
        view.ids[slot] = row + i;
        view.scales[slot] = scales[i]!;
        view.biases[slot] = biases[i]!;
        view.codes.set(block.subarray(i * padded, (i + 1) * padded), slot * padded);
      }
    }
  });
  withFile(to, 'r+', (handle) => writeFully(handle, target, offset));
  return Uint32Array.from(rows, (_, l) => crc32(target.subarray(starts[l]!, starts[l + 1]!)));
}

function listViews({ buffer, byteOffset }: Buffer, start: number, rows: number) {
  const list = listLayout(rows, padded);
  const base = byteOffset + start;
  const room = roundUp(rows, 4);
  const biases = new Float32Array(buffer, base + list.biases, room);
  biases.fill(Number.NaN, rows);
  return {
    ids: new Uint32Array(buffer, base + list.ids, room),
    scales: new Float32Array(buffer, base + list.scales, room),
    biases,
    codes: new Uint8Array(buffer, base + list.codes, room * padded),
  };
}

function withFile(path: string, flags: string, use: (handle: number) => void): void {
  let handle: number | undefined;
  try {
    handle = openSync(path, flags);
    use(handle);
  } catch (cause) {
    throw ioError(flags === 'r' ? 'read' : 'write', path, cause);
  } finally {
    if (handle !== undefined) closeSync(handle);
  }
}

function writeFully(handle: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    done += writeSync(handle, bytes, done, bytes.length - done, position + done);
  }
}

function readFully(handle: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length; ) {
    const got = readSync(handle, bytes, done, bytes.length - done, position + done);
    if (got === 0) throw new Error(`unexpected end at byte ${position + done}`);
    done += got;
  }
}

async function perform(task: BuilderTask): Promise<unknown> {
  switch (task.kind) {
    case 'statistics':
      return statistics(task);
    case 'sample':
      return sample(task);
    case 'seeds':
      return seeds(task.rows);
    case 'step':
      return step(task.centroids);
    case 'assign':
      return assign(task);
    case 'place':
      return place(task);
  }
}

/** What need not be copied on its way to the main thread. */
function buffersOf(result: unknown): ArrayBuffer[] {
  const parts = ArrayBuffer.isView(result) ? [result] : Object.values(result as object);
  return parts.filter(ArrayBuffer.isView).map(({ buffer }) => buffer as ArrayBuffer);
}

parentPort!.on('message', async (task: BuilderTask) => {
  const answer: Answer<unknown> = await perform(task).then(
    (result) => ({ result }),
    (error) =>
      error instanceof KnnLMError
        ? { error: { message: error.message, code: error.code } }
        : {
            error: {
              message: error instanceof Error ? (error.stack ?? error.message) : `${error}`,
            },
          },
  );
  parentPort!.postMessage(answer, 'result' in answer ? buffersOf(answer.result) : []);
});
