/** What an index will cost, told soon after its building began: k-means steps are timed, and the rest is of the same kind. */
import { availableParallelism } from 'node:os';
import { paddedWidth } from '../indexes/chunk.ts';
import { type IvfProgress, STEPS, sampleSize } from '../indexes/ivf/build-ivf.ts';

export interface DiskRoom {
  /** Needed while it is built; about half of it stays. */
  diskBytes: number;
  freeDiskBytes: number;
}

/** Bytes on disk that building takes: codes in entry order, and again in lists. Product codes are smaller than either. */
export const indexingBytes = (entries: number, dim: number): number =>
  entries * (2 * (paddedWidth(dim) + 16) + 20);

export interface IndexPlan extends DiskRoom {
  entries: number;
  lists: number;
  /** From the start to the end, tuning included. */
  seconds: number;
}

export interface IndexShape {
  entries: number;
  dim: number;
  lists: number;
  /** That the error is measured on. */
  queries: number;
  threads?: number;
  room: DiskRoom;
}

/** Integer products per dimension of a query: it has two digits. */
const DIGITS = 2;

/** @returns what is to be told of all progress */
export function planAfterTwoSteps(
  shape: IndexShape,
  onPlan: ((plan: IndexPlan) => void) | undefined,
): (progress: IvfProgress) => void {
  const started = performance.now();
  let first = started;
  return ({ phase, done }) => {
    if (phase !== 'training') return;
    if (done === 1) first = performance.now();
    if (done !== 2) return;
    const { entries, lists, room } = shape;
    const stepMs = performance.now() - first;
    const seconds = (first - started + remainingMs(shape, stepMs)) / 1000;
    onPlan?.({ entries, lists, seconds, ...room });
  };
}

/**
 * A step compares the sample with all centroids. Assigning does so with all keys, and tuning reads all lists once for the true
 * neighbors of its queries, and few of them at every trial.
 */
function remainingMs(
  { entries, dim, lists, queries, threads }: IndexShape,
  stepMs: number,
): number {
  const workers = threads ?? Math.min(8, availableParallelism());
  const samples = entries / sampleSize(entries, lists, dim, workers);
  const tuning = (DIGITS * Math.min(queries, entries)) / lists;
  return stepMs * (STEPS - 1 + samples * (1 + tuning));
}
