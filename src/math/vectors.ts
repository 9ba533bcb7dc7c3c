/** Shapes that the datastore and the indexes share, and the distance between keys. */

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

/** Squared L2, in float64. @param a (d) @param b (d) */
export function squaredDistance(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    const difference = a[i]! - b[i]!;
    sum += difference * difference;
  }
  return sum;
}
