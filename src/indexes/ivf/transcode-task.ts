/** What the main thread and the workers that turn 8-bit lists into product codes say to each other. */
import type { Codec } from './codec.ts';
import type { IvfHeader } from './ivf-header.ts';
import type { ListRange } from './write-product-file.ts';

/** Arrays of all workers are in shared memory. */
export interface TranscoderStart {
  module: WebAssembly.Module;
  /** The lists file of 8-bit codes. */
  path: string;
  header: IvfHeader;
  codec: Codec;
  /** (S, padded) f32 sampled rows, from their centroids. */
  sample: Float32Array;
  /** (M, S, part) f32 the same rotated, sub-vector after sub-vector. */
  parts: Float32Array;
}

/** A row of the sample: which row of which list. */
export interface SampledList {
  list: number;
  /** Rows of the list, ascending. */
  rows: Uint32Array;
  /** Number of its first row in the sample. */
  first: number;
}

/** Decodes rows into the sample. Gives (padded, padded) f64 sums of their products. */
export interface SampleTask {
  kind: 'sample';
  lists: SampledList[];
}

/** Gives the (width, padded) f32 rotation. */
export interface RotationTask {
  kind: 'rotation';
  /** (padded, padded) */
  products: Float64Array;
}

/** Rotates rows [first, first + count) of the sample. */
export interface RotateTask {
  kind: 'rotate';
  rotation: Float32Array;
  first: number;
  count: number;
}

/** Trains one codebook: gives (part, words) f32. */
export interface BookTask {
  kind: 'book';
  subquantizer: number;
}

/** What `EncodeTask` works with. */
export interface LoadTask {
  kind: 'load';
  rotation: Float32Array;
  /** (M, part, words) */
  books: Float32Array;
}

/** Codes lists [first, end). Gives `PackedLists`. */
export interface EncodeTask extends ListRange {
  kind: 'encode';
}

export type TranscoderTask =
  | SampleTask
  | RotationTask
  | RotateTask
  | BookTask
  | LoadTask
  | EncodeTask;
