/** Fills the chunks of an index: statistics of a sample, then codes, then the sample that searches guess from. */
import type { Chunk } from './chunk.ts';
import type { CodeSpace } from './query-code.ts';
import type { Encoded, EncodeTask, Statistics } from './search-task.ts';
import type { WorkerPool } from './worker-pool.ts';

/** Rows coded per task: small enough that workers end together. */
const TASK_ROWS = 16384;
/** Least spread of a dimension in units of the mean spread, so that a dimension constant in the sample may still vary. */
const LEAST_SCALE = 0.02;

/** Center, unit and scales: the standard deviation of each dimension, so that none wastes its 8 bits. */
export function spaceOf(all: Statistics[], dim: number): CodeSpace {
  const count = all.reduce((sum, part) => sum + part.count, 0);
  const mean = new Float32Array(dim);
  const variance = new Float64Array(dim);
  let total = 0;
  for (let j = 0; j < dim; j++) {
    const average = all.reduce((sum, part) => sum + part.sums[j]!, 0) / count;
    const square = all.reduce((sum, part) => sum + part.squares[j]!, 0) / count;
    mean[j] = average;
    variance[j] = Math.max(0, square - average * average);
    total += variance[j]!;
  }
  // The kernel multiplies by a single-precision 1 / unit: its own inverse is the unit everywhere.
  const inverseUnit = Math.fround(1 / Math.sqrt(total / dim));
  const isUsable = inverseUnit > 0 && Number.isFinite(inverseUnit);
  const unit = isUsable ? 1 / inverseUnit : 1;
  const scale = Float32Array.from(variance, (v) => Math.max(LEAST_SCALE, Math.sqrt(v) / unit));
  return { dim, mean, scale, unit, worstError: 0, longestCode: 0, meanScale: 0 };
}

function writeSpace({ memory, layout }: Chunk, { mean, scale }: CodeSpace): void {
  const floats = new Float32Array(memory.buffer);
  floats.set(mean, layout.mean / 4);
  floats.set(scale, layout.scale / 4);
  for (const [j, s] of scale.entries()) floats[layout.inverse / 4 + j] = 1 / s;
}

export async function buildCodes(
  chunks: readonly Chunk[],
  dim: number,
  pool: WorkerPool,
  signal?: AbortSignal,
): Promise<void> {
  const statistics = await Promise.all(
    chunks.map((_, chunk) => pool.run<Statistics>({ kind: 'statistics', chunk })),
  );
  signal?.throwIfAborted();
  const space = spaceOf(statistics, dim);
  const inverseUnit = 1 / space.unit;
  const tasks: Promise<Encoded>[] = [];
  for (const [chunk, { layout }] of chunks.entries()) {
    writeSpace(chunks[chunk]!, space);
    for (let from = 0; from < layout.rows; from += TASK_ROWS) {
      const to = Math.min(layout.rows, from + TASK_ROWS);
      const task: EncodeTask = { kind: 'encode', chunk, from, to, inverseUnit };
      tasks.push(pool.run<Encoded>(task));
    }
  }
  let rows = 0;
  for (const { layout } of chunks) rows += layout.rows;
  for (const part of await Promise.all(tasks)) {
    space.worstError = Math.max(space.worstError, part.worstError);
    space.longestCode = Math.max(space.longestCode, part.longestCode);
    space.meanScale += part.scaleSum / rows;
  }
  signal?.throwIfAborted();
  await Promise.all(chunks.map((_, chunk) => pool.run({ kind: 'sample', chunk })));
  await pool.broadcast({ kind: 'ready', space });
}
