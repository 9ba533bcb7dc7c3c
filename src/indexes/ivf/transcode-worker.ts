/** A worker that learns product codes and turns lists of 8-bit codes into lists of them. One task at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../../errors.ts';
import { Random } from '../../math/random.ts';
import type { Answer } from '../worker-pool.ts';
import { productShape } from './codec.ts';
import { corruptIndex } from './ivf-header.ts';
import { KernelMemory, Layout } from './list-kernels.ts';
import { listLayout } from './lists-file.ts';
import { openTable, readFully } from './open-table.ts';
import { type ProductRows, packLists } from './product-list.ts';
import { productRotation } from './product-rotation.ts';
import type {
  BookTask,
  EncodeTask,
  LoadTask,
  RotateTask,
  RotationTask,
  SampleTask,
  TranscoderStart,
  TranscoderTask,
} from './transcode-task.ts';
import type { PackedLists } from './write-product-file.ts';

/** Rows decoded, rotated and coded in one go. */
const BLOCK_ROWS = 256;
/** Lloyd's steps of a codebook: faiss takes 25, the last of which gain under 0.1%. */
const STEPS = 16;

const { module, path, header, codec, sample, parts } = workerData as TranscoderStart;
const table = openTable(path, header);
const { padded } = table.layout;
const { dim } = header;
const m = codec.subquantizers;
const shape = productShape(codec, dim);
const { width, part, words } = shape;
const sampled = sample.length / padded;
const largest = table.rows.reduce((most, rows) => Math.max(most, rows), 1);

const layout = new Layout();
const at = {
  scale: layout.take(padded * 4),
  nothing: layout.take(padded * 4),
  center: layout.take(padded * 4),
  centerCode: layout.take(padded),
  centerScale: layout.take(4),
  rotatedCenter: layout.take(width * 4),
  rotation: layout.take(width * padded * 4),
  books: layout.take(width * words * 4),
  halves: layout.take(m * words * 4),
  tables: layout.take(m * words * 4),
  products: layout.take(padded * padded * 4),
  list: layout.take(listLayout(largest, padded).bytes),
  rows: layout.take(BLOCK_ROWS * padded * 4),
  rotated: layout.take(BLOCK_ROWS * width * 4),
  /** Sub-vectors of the whole sample, to train one codebook. */
  sample: layout.take(sampled * part * 4),
  codes: layout.take(Math.max(sampled, largest * m)),
  biases: layout.take(largest * 4),
};
const memory = new KernelMemory(module, layout.end);
const { kernels, u8, u32, f32 } = memory;
f32.set(table.space.scale, at.scale / 4);

/** Brings a list into memory. @returns addresses of its parts */
function readList(list: number) {
  const [start, end] = [table.offsets[list]!, table.offsets[list + 1]!];
  const target = u8.subarray(at.list, at.list + end - start);
  readFully(table.handle, target, { path, position: start });
  if (crc32(target) !== table.checksums[list]) {
    throw corruptIndex(`List ${list} of the index file ${path} does not match its checksum`);
  }
  const { ids, scales, codes } = listLayout(table.rows[list]!, padded);
  return { ids: at.list + ids, scales: at.list + scales, codes: at.list + codes };
}

/** Decodes a list's centroid. */
function loadCenter(list: number): void {
  const { codes, scales } = table.layout;
  u8.set(table.bytes.subarray(codes + list * padded, codes + (list + 1) * padded), at.centerCode);
  u8.set(table.bytes.subarray(scales + list * 4, scales + list * 4 + 4), at.centerScale);
  const { centerCode, centerScale, nothing, center } = at;
  kernels.residuals(centerCode, centerScale, 1, padded, at.scale, nothing, center);
}

function decode(list: { codes: number; scales: number }, row: number, count: number, to: number) {
  const codes = list.codes + row * padded;
  kernels.residuals(codes, list.scales + row * 4, count, padded, at.scale, at.center, to);
}

function takeSample({ lists }: SampleTask): Float64Array {
  const products = f32.subarray(at.products / 4, at.products / 4 + padded * padded).fill(0);
  for (const { list, rows, first } of lists) {
    const read = readList(list);
    loadCenter(list);
    for (const [i, row] of rows.entries()) {
      decode(read, row, 1, at.rows);
      kernels.addProducts(at.rows, 1, padded, at.products);
      sample.set(f32.subarray(at.rows / 4, at.rows / 4 + padded), (first + i) * padded);
    }
  }
  return Float64Array.from(products);
}

function rotateSample({ rotation, first, count }: RotateTask): void {
  f32.set(rotation, at.rotation / 4);
  for (let row = first; row < first + count; row += BLOCK_ROWS) {
    const block = Math.min(BLOCK_ROWS, first + count - row);
    f32.set(sample.subarray(row * padded, (row + block) * padded), at.rows / 4);
    kernels.rotate(at.rotation, width, padded, at.rows, block, at.rotated);
    for (let i = 0; i < block; i++) {
      for (let s = 0; s < m; s++) {
        const from = at.rotated / 4 + i * width + s * part;
        parts.set(f32.subarray(from, from + part), (s * sampled + row + i) * part);
      }
    }
  }
}

/** Lloyd's k-means over one sub-vector; a word that nothing is nearest to is put beside the one with most. */
function trainBook({ subquantizer }: BookTask): Float32Array {
  const own = parts.subarray(subquantizer * sampled * part, (subquantizer + 1) * sampled * part);
  f32.set(own, at.sample / 4);
  const random = new Random(1 + subquantizer);
  const book = f32.subarray(at.books / 4, at.books / 4 + part * words);
  for (let w = 0; w < words; w++) {
    const row = Math.floor(((w + random.uniform()) * sampled) / words);
    for (let j = 0; j < part; j++) book[j * words + w] = own[row * part + j]!;
  }
  const counts = new Float64Array(words);
  const sums = new Float64Array(words * part);
  for (let step = 0; step < STEPS; step++) {
    setHalves(1);
    kernels.encodeProducts(at.sample, sampled, 1, part, words, at.books, at.halves, at.codes);
    counts.fill(0);
    sums.fill(0);
    for (let i = 0; i < sampled; i++) {
      const w = u8[at.codes + i]!;
      counts[w]!++;
      for (let j = 0; j < part; j++) sums[w * part + j]! += own[i * part + j]!;
    }
    for (let w = 0; w < words; w++) {
      for (let j = 0; counts[w]! > 0 && j < part; j++) {
        book[j * words + w] = sums[w * part + j]! / counts[w]!;
      }
    }
    if (step + 1 < STEPS) splitLargest(book, counts, random);
  }
  return book.slice();
}

/** Relative to a word's own length: far above rounding, far below a cell's size. */
const SPLIT = 1 / 64;

function splitLargest(book: Float32Array, counts: Float64Array, random: Random): void {
  for (let w = 0; w < words; w++) {
    if (counts[w]! > 0) continue;
    const from = counts.indexOf(Math.max(...counts));
    for (let j = 0; j < part; j++) {
      book[j * words + w] = book[j * words + from]! * (1 + (random.uniform() - 0.5) * SPLIT);
    }
    counts[w] = counts[from]! / 2;
    counts[from]! /= 2;
  }
}

/** ‖word‖² / 2 of the first codebooks. */
function setHalves(books: number): void {
  for (let s = 0; s < books; s++) {
    const book = at.books / 4 + s * part * words;
    for (let w = 0; w < words; w++) {
      let sum = 0;
      for (let j = 0; j < part; j++) sum += f32[book + j * words + w]! ** 2;
      f32[at.halves / 4 + s * words + w] = sum / 2;
    }
  }
}

function load({ rotation, books }: LoadTask): void {
  f32.set(rotation, at.rotation / 4);
  f32.set(books, at.books / 4);
  setHalves(m);
}

function encode({ first, end }: EncodeTask): PackedLists {
  return packLists(
    Array.from({ length: end - first }, (_, i) => encodeList(first + i)),
    codec,
  );
}

function encodeList(list: number): ProductRows {
  const rows = table.rows[list]!;
  const read = readList(list);
  loadCenter(list);
  setBiasTables();
  for (let row = 0; row < rows; row += BLOCK_ROWS) {
    const count = Math.min(BLOCK_ROWS, rows - row);
    const codes = at.codes + row * m;
    decode(read, row, count, at.rows);
    kernels.rotate(at.rotation, width, padded, at.rows, count, at.rotated);
    kernels.encodeProducts(at.rotated, count, m, part, words, at.books, at.halves, codes);
    kernels.sumTables(codes, count, m, words, at.tables, at.biases + row * 4);
  }
  return {
    ids: u32.slice(read.ids / 4, read.ids / 4 + rows),
    biases: f32.slice(at.biases / 4, at.biases / 4 + rows),
    codes: u8.slice(at.codes, at.codes + rows * m),
  };
}

/** ‖word‖² + 2⟨center, word⟩: a row's bias is the sum of its words'. */
function setBiasTables(): void {
  kernels.rotate(at.rotation, width, padded, at.center, 1, at.rotatedCenter);
  kernels.productTables(at.rotatedCenter, m, part, words, at.books, at.tables);
  const [tables, halves] = [at.tables / 4, at.halves / 4];
  for (let i = 0; i < m * words; i++) f32[tables + i]! += 2 * f32[halves + i]!;
}

function perform(task: TranscoderTask): unknown {
  switch (task.kind) {
    case 'sample':
      return takeSample(task);
    case 'rotation':
      return productRotation((task satisfies RotationTask).products, { dim, padded }, shape);
    case 'rotate':
      return rotateSample(task);
    case 'book':
      return trainBook(task);
    case 'load':
      return load(task);
    case 'encode':
      return encode(task);
  }
}

parentPort!.on('message', (task: TranscoderTask) => {
  let answer: Answer<unknown>;
  try {
    answer = { result: perform(task) };
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : `${error}`;
    answer =
      error instanceof KnnLMError
        ? { error: { message: error.message, code: error.code } }
        : { error: { message } };
  }
  parentPort!.postMessage(answer);
});
