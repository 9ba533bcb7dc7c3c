/** Exact distances of some entries, whose keys are read from their files. */
import { KnnLMError } from '../../errors.ts';
import type { KeySource } from '../../math/vectors.ts';
import { bytesPerKey } from '../chunk.ts';
import { KeyReader } from '../key-reader.ts';
import type { RankedRows, RerankTask } from './ivf-task.ts';
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

  run({ queries, counts, ids, cancel }: RerankTask): RankedRows {
    const dim = this.#dim;
    const pairs = new BigUint64Array(ids.length);
    const words = new Uint32Array(pairs.buffer);
    let end = 0;
    for (const [q, count] of counts.entries()) {
      if (Atomics.load(cancel, 0) !== 0) throw new KnnLMError('ABORTED', 'The search was stopped.');
      this.#memory.f64.set(queries.subarray(q * dim, (q + 1) * dim), this.#at.query64 / 8);
      const rows = ids.slice(end, end + count).sort();
      for (let done = 0; done < count; done += MOST_ROWS) {
        const part = rows.subarray(done, done + MOST_ROWS);
        this.#compare(part);
        for (let i = 0; i < part.length; i++) {
          words[2 * (end + done + i)] = part[i]!;
          words[2 * (end + done + i) + 1] = this.#memory.u32[this.#at.out / 4 + i]!;
        }
      }
      pairs.subarray(end, end + count).sort();
      end += count;
    }
    return { counts, pairs: words };
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
