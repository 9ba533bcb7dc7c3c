/**
 * How a document is read: windows of at most W positions, S apart.
 *
 * A document is BOS, t1 … tn and gives the n + 1 targets t1 … tn, EOS; position i reads input i and predicts target i.
 * A target counts in the first window that reaches it, so every key but a document's first W has seen at least W - S
 * tokens (the strided evaluation of knn-transformers and Baevski & Auli 2019, cut at document borders).
 */
import { KnnLMError } from '../errors.ts';

export interface Window {
  /** Index of the first input the window reads. */
  start: number;
  /** Positions read. */
  length: number;
  /** Leading positions that an earlier window has given already. */
  seen: number;
}

export interface WindowPlan {
  /** W */
  window: number;
  /** S */
  stride: number;
}

/** @param positions n + 1: the document's tokens and the BOS. */
export function* planWindows(positions: number, { window, stride }: WindowPlan): Generator<Window> {
  let done = 0;
  for (let start = 0; done < positions; start += stride) {
    const length = Math.min(window, positions - start);
    yield { start, length, seen: done - start };
    done = start + length;
  }
}

/** Start of the first window that reaches a position: the context under which that position's key is made. */
export function windowStart(position: number, { window, stride }: WindowPlan): number {
  return position < window ? 0 : Math.ceil((position + 1 - window) / stride) * stride;
}

/** The design's default: the model's context, 1,024 at most, and half of it between windows. */
export function defaultWindowPlan(
  contextLength: number,
  { window, stride }: Partial<WindowPlan> = {},
): WindowPlan {
  const w = window ?? Math.min(contextLength, 1024);
  if (!Number.isInteger(w) || w < 2 || w > contextLength) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The window must be a whole number from 2 to the model's context of ${contextLength} positions, not ${w}.`,
    );
  }
  const s = stride ?? Math.max(1, w >> 1);
  if (!Number.isInteger(s) || s < 1 || s > w) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The stride must be a whole number from 1 to the window of ${w} positions, not ${s}.`,
    );
  }
  return { window: w, stride: s };
}
