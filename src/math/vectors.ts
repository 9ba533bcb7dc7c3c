/** Shapes that the datastore and the indexes share. */

/** Half-open range `[start, end)` of entry ids. A document is one range. */
export type IdRange = readonly [start: number, end: number];

/** How keys are stored, row-major and little-endian. */
export type KeyDtype = 'fp16' | 'fp32';

/** A run of stored keys in a file. Consecutive sources have consecutive entry ids. */
export interface KeySource {
  path: string;
  dtype: KeyDtype;
  /** Rows. */
  count: number;
  /** Where row 0 starts in the file, in bytes. */
  byteOffset: number;
}
