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
export function groupByLength(
  lengths: readonly number[],
  { maxTokens, maxPadding = MAX_PADDING }: BatchingOptions,
): number[][] {
  const order = lengths.map((_, i) => i).sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const batches: number[][] = [];
  let batch: number[] = [];
  let longest = 0;
  let tokens = 0;
  for (const index of order) {
    const length = lengths[index]!;
    const size = longest * (batch.length + 1);
    const fits = size <= maxTokens && tokens + length >= size * (1 - maxPadding);
    if (batch.length === 0 || !fits) {
      batch = [];
      batches.push(batch);
      longest = length;
      tokens = 0;
    }
    batch.push(index);
    tokens += length;
  }
  return batches;
}
