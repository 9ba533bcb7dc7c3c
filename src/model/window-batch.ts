/** Windows of different lengths as one rectangle, and back. */

export interface WindowBatch {
  /** (count, length), row-major; windows shorter than the longest end in zeros. */
  tokens: Int32Array;
  count: number;
  length: number;
}

export function padded(windows: readonly Int32Array[]): WindowBatch {
  const count = windows.length;
  const length = windows.reduce((longest, window) => Math.max(longest, window.length), 0);
  if (count === 1) return { tokens: windows[0]!, count, length };
  const tokens = new Int32Array(count * length);
  for (let i = 0; i < count; i++) tokens.set(windows[i]!, i * length);
  return { tokens, count, length };
}

/** Rows of a (count, length, width) result that belong to real tokens, one array of its own per window. */
export function unpadded(
  values: Float32Array,
  windows: readonly Int32Array[],
  length: number,
): Float32Array[] {
  const width = values.length / (windows.length * length);
  if (windows.length === 1) return [values];
  return windows.map((window, i) => {
    const start = i * length * width;
    return values.slice(start, start + window.length * width);
  });
}
