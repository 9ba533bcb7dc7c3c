/** What the main thread and the workers that build an inverted file say to each other. */
import type { KeySource } from '../../math/vectors.ts';

export interface BuilderStart {
  module: WebAssembly.Module;
  dim: number;
  sources: readonly KeySource[];
  lists: number;
  /** Most sample rows that one worker is given. */
  sampleRows: number;
}

/** A run of rows. */
export interface Run {
  from: number;
  count: number;
}

/** Sums of rows and of their squares. */
export interface StatisticsTask {
  kind: 'statistics';
  runs: Run[];
}

/** Codes rows and keeps them for training. */
export interface SampleTask {
  kind: 'sample';
  runs: Run[];
  space: CodeScales;
}

/** How keys are coded: z = (x - mean) · inverseUnit ≈ a · scale ⊙ c. */
export interface CodeScales {
  /** (d) */
  mean: Float32Array;
  /** (d) */
  scale: Float32Array;
  inverseUnit: number;
}

/** Decoded sample rows: first centroids. */
export interface SeedTask {
  kind: 'seeds';
  /** Row numbers within the worker's sample. */
  rows: Uint32Array;
}

/** One step of k-means over the worker's sample. */
export interface StepTask {
  kind: 'step';
  /** (lists, padded) centroids in z, shared. */
  centroids: Float32Array;
}
export interface StepResult {
  /** (lists, padded) sums of z / scale. */
  sums: Float32Array;
  /** (lists) */
  counts: Uint32Array;
  /** Sum of squared distances in z. */
  inertia: number;
}

/** Codes rows, finds their lists, and writes the codes to the temporary file. */
export interface AssignTask {
  kind: 'assign';
  run: Run;
  centroids: Float32Array;
  space: CodeScales;
  file: string;
}
export interface AssignResult {
  run: Run;
  /** (count) */
  lists: Uint32Array;
  /** (count) squared distances from the centroid, in z. */
  distances: Float32Array;
}

/** Gathers whole lists out of the temporary file. */
export interface PlaceTask {
  kind: 'place';
  /** Lists [first, first + rows.length). */
  first: number;
  /** Rows of each. */
  rows: Uint32Array;
  /** (n) the list of each entry, shared. */
  listOf: Uint32Array;
  /** Entries per block of the temporary file. */
  blockRows: number;
  from: string;
  to: string;
  /** Where list `first` starts in the file. */
  offset: number;
}
/** CRC-32 of each list. */
export type PlaceResult = Uint32Array;

export type BuilderTask =
  | StatisticsTask
  | SampleTask
  | SeedTask
  | StepTask
  | AssignTask
  | PlaceTask;

/** Bytes of a coded row in the temporary file: code, scale and bias. */
export const codedRowBytes = (padded: number): number => padded + 8;

/** Rows per block of keys, for about 8 MB of them. */
export function blockRowsOf(rowBytes: number): number {
  return Math.max(64, Math.min(16384, 4 * Math.floor(2 ** 21 / rowBytes)));
}
