/** Which windows are read together. */

export interface BatchingOptions {
  /** Most tokens in one batch, padding included; a longer window is a batch of its own. */
  maxTokens: number;
  /** Most of a batch that may be padding, as a share. */
  maxPadding?: number;
}

/** Padding costs time as real tokens do; sharing a run saves more than this for windows of about the same length. */
const MAX_PADDING = 0.1;

/** Groups windows of near lengths. @returns indexes into `lengths`; every index once, longest batches first */
export const groupByLength = (lengths: readonly number[], options: BatchingOptions): number[][] =>
  groupBySizes(
    lengths.map((length) => [length]),
    options,
  );

/** The same of windows that have several lengths, such as a target's and its source's: each is padded to the longest of its kind. */
export function groupBySizes(
  sizes: readonly (readonly number[])[],
  { maxTokens, maxPadding = MAX_PADDING }: BatchingOptions,
): number[][] {
  const total = sizes.map((lengths) => lengths.reduce((sum, length) => sum + length, 0));
  const order = sizes.map((_, i) => i).sort((a, b) => total[b]! - total[a]! || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let longest: number[] = [];
  let tokens = 0;
  for (const index of order) {
    const lengths = sizes[index]!;
    const widened = lengths.map((length, i) => Math.max(length, longest[i] ?? 0));
    const size = widened.reduce((sum, length) => sum + length, 0) * (batch.length + 1);
    const fits = size <= maxTokens && tokens + total[index]! >= size * (1 - maxPadding);
    if (batch.length === 0 || !fits) {
      batch = [];
      batches.push(batch);
      longest = [...lengths];
      tokens = 0;
    } else longest = widened;
    batch.push(index);
    tokens += total[index]!;
  }
  return batches;
}
