/**
 * Lloyd's k-means over a sample that the workers hold as 8-bit codes: they assign and sum, the means are taken here.
 * An empty list is refilled by splitting the fullest one, so that lists stay of use (as faiss does).
 */
import { Breather } from '../../math/breather.ts';
import { Random } from '../../math/random.ts';
import type { WorkerPool } from '../worker-pool.ts';
import type { StepResult } from './build-task.ts';

/** Relative to a dimension's spread: far above rounding, far below a list's size. */
const SPLIT = 1 / 64;

export interface KMeansOptions {
  /** One worker each. */
  pools: readonly WorkerPool[];
  /** Sample rows that each worker holds. */
  sampled: readonly number[];
  lists: number;
  padded: number;
  /** (d) */
  scale: Float32Array;
  steps: number;
  seed: number;
  onStep: (done: number) => void;
  signal?: AbortSignal;
}

/** @returns (lists, padded) centroids in z, in shared memory */
export async function trainCentroids(options: KMeansOptions): Promise<Float32Array> {
  const { pools, lists, padded, steps, onStep, signal } = options;
  const random = new Random(options.seed);
  const centroids = new Float32Array(new SharedArrayBuffer(lists * padded * 4));
  await seedCentroids(centroids, options, random);
  for (let step = 0; step < steps; step++) {
    signal?.throwIfAborted();
    const parts = await Promise.all(
      pools.map((pool) => pool.run<StepResult>({ kind: 'step', centroids })),
    );
    const counts = new Float64Array(lists);
    for (const part of parts) for (let l = 0; l < lists; l++) counts[l]! += part.counts[l]!;
    const breather = new Breather();
    for (let l = 0; l < lists; l++) {
      if (counts[l]! > 0) takeMean(l, parts, counts[l]!, centroids, options);
      if (l % 256 === 255) await breather.pause();
    }
    await splitFullest(counts, centroids, options, random);
    onStep(step + 1);
  }
  return centroids;
}

/** Sample rows, drawn without repetition while there are enough. */
async function seedCentroids(
  centroids: Float32Array,
  { pools, sampled, lists, padded }: KMeansOptions,
  random: Random,
): Promise<void> {
  const total = sampled.reduce((sum, count) => sum + count, 0);
  let first = 0;
  let start = 0;
  for (const [w, pool] of pools.entries()) {
    const end = start + sampled[w]!;
    const last = Math.round((lists * end) / total);
    const rows = drawRows(sampled[w]!, last - first, random);
    const drawn = await pool.run<Float32Array>({ kind: 'seeds', rows });
    centroids.set(drawn, first * padded);
    first = last;
    start = end;
  }
}

function drawRows(from: number, count: number, random: Random): Uint32Array {
  const rows = Uint32Array.from({ length: from }, (_, i) => i);
  return Uint32Array.from({ length: count }, (_, i) => {
    const place = i % from;
    const other = place + random.below(from - place);
    [rows[place], rows[other]] = [rows[other]!, rows[place]!];
    return rows[place]!;
  });
}

function takeMean(
  list: number,
  parts: readonly StepResult[],
  count: number,
  centroids: Float32Array,
  { padded, scale }: KMeansOptions,
): void {
  const row = list * padded;
  for (let j = 0; j < scale.length; j++) {
    let sum = 0;
    for (const { sums } of parts) sum += sums[row + j]!;
    centroids[row + j] = (sum / count) * scale[j]!;
  }
}

async function splitFullest(
  counts: Float64Array,
  centroids: Float32Array,
  { padded, scale }: KMeansOptions,
  random: Random,
): Promise<void> {
  const breather = new Breather();
  for (let empty = 0; empty < counts.length; empty++) {
    if (counts[empty]! > 0) continue;
    let fullest = 0;
    for (let l = 1; l < counts.length; l++) if (counts[l]! > counts[fullest]!) fullest = l;
    const [from, to] = [fullest * padded, empty * padded];
    for (let j = 0; j < scale.length; j++) {
      const nudge = (random.uniform() - 0.5) * SPLIT * scale[j]!;
      centroids[to + j] = centroids[from + j]! + nudge;
      centroids[from + j]! -= nudge;
    }
    counts[empty] = counts[fullest]! / 2;
    counts[fullest]! /= 2;
    await breather.pause();
  }
}
