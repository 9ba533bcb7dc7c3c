/** Exact distances of some entries, whose keys are read from their files. */
import { KnnLMError } from '../../errors.ts';
import type { KeySource } from '../../math/vectors.ts';
import { bytesPerKey } from '../chunk.ts';
import { KeyReader } from '../key-reader.ts';
import type { MeasureTask, RankedRows, RerankTask } from './ivf-task.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';

/** Keys compared in one go. */
const MOST_ROWS = 256;
/** Reading a gap of this many rows is cheaper than a second read. */
const GAP_ROWS = 8;

export type RerankLayout = ReturnType<typeof rerankLayout>;

export function rerankLayout(layout: Layout, dim: number, rowBytes: number) {
  return {
    query64: layout.take(dim * 8),
    rows: layout.take(MOST_ROWS * 4),
    out: layout.take(MOST_ROWS * 4),
    keys: layout.take(MOST_ROWS * (GAP_ROWS + 1) * rowBytes + 16),
  };
}

export class Reranker {
  readonly #memory: KernelMemory;
  readonly #at: RerankLayout;
  readonly #dim: number;
  readonly #isHalf: boolean;
  readonly #rowBytes: number;
  readonly #reader: KeyReader;

  constructor(memory: KernelMemory, at: RerankLayout, sources: readonly KeySource[], dim: number) {
    this.#memory = memory;
    this.#at = at;
    this.#dim = dim;
    this.#isHalf = sources[0]!.dtype === 'fp16';
    this.#rowBytes = bytesPerKey(sources[0]!.dtype, dim);
    this.#reader = new KeyReader(sources, dim);
    this.#reader.open();
  }

  /** Each query's entries, nearest first. */
  run(task: Omit<RerankTask, 'kind'>): RankedRows {
    const { counts } = task;
    const ids = task.ids.slice();
    const eachQuery = (use: (start: number, end: number) => void): void => {
      let start = 0;
      for (const count of counts) {
        use(start, start + count);
        start += count;
      }
    };
    eachQuery((start, end) => ids.subarray(start, end).sort());
    const distances = this.measure({ ...task, ids }, task.cancel);
    const bits = new Uint32Array(distances.buffer);
    const pairs = new BigUint64Array(ids.length);
    const words = new Uint32Array(pairs.buffer);
    for (let i = 0; i < ids.length; i++) {
      words[2 * i] = ids[i]!;
      words[2 * i + 1] = bits[i]!;
    }
    eachQuery((start, end) => pairs.subarray(start, end).sort());
    return { counts, pairs: words };
  }

  /** Distances of entries that ascend within each query, in their order. */
  measure({ queries, counts, ids }: Omit<MeasureTask, 'kind'>, cancel?: Int32Array): Float32Array {
    const dim = this.#dim;
    const { f32, f64 } = this.#memory;
    const distances = new Float32Array(ids.length);
    let start = 0;
    for (const [q, count] of counts.entries()) {
      if (cancel && Atomics.load(cancel, 0) !== 0)
        throw new KnnLMError('ABORTED', 'The search was stopped.');
      f64.set(queries.subarray(q * dim, (q + 1) * dim), this.#at.query64 / 8);
      for (const end = start + count; start < end; ) {
        const part = ids.subarray(start, Math.min(end, start + MOST_ROWS));
        this.#compare(part);
        distances.set(f32.subarray(this.#at.out / 4, this.#at.out / 4 + part.length), start);
        start += part.length;
      }
    }
    return distances;
  }

  /** Reads the keys of some entries, in ascending order, near ones in one go, and compares them. */
  #compare(entries: Uint32Array): void {
    const { kernels, u8, u32 } = this.#memory;
    const at = this.#at;
    let slots = 0;
    for (let i = 0; i < entries.length; ) {
      const first = entries[i]!;
      let last = first;
      for (; i < entries.length && entries[i]! - last <= GAP_ROWS; i++) {
        last = entries[i]!;
        u32[at.rows / 4 + i] = slots + last - first;
      }
      const rows = last - first + 1;
      const start = at.keys + slots * this.#rowBytes;
      this.#reader.read(u8.subarray(start, start + rows * this.#rowBytes), first);
      slots += rows;
    }
    kernels.distances(
      at.keys,
      this.#dim,
      this.#isHalf,
      at.rows,
      entries.length,
      at.query64,
      at.out,
    );
  }
}
