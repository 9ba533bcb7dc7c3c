/** Exact distances of some entries by their stored keys, in worker threads: what an index elsewhere proposed is ranked here. */
import { availableParallelism } from 'node:os';
import type { KeySource } from '../math/vectors.ts';
import type { RankedRows, RerankTask } from './ivf/ivf-task.ts';
import { compileListKernels } from './ivf/list-kernels.ts';
import { WorkerPool } from './worker-pool.ts';

/** What a rank worker is started with. */
export interface RankWorkerStart {
  module: WebAssembly.Module;
  sources: readonly KeySource[];
  dim: number;
}

/** Reading is most of the work. */
const MOST_THREADS = 4;

export class KeyRanker {
  readonly #start: RankWorkerStart;
  readonly #threads: number;
  #pool: WorkerPool | undefined;

  private constructor(start: RankWorkerStart, threads: number) {
    this.#start = start;
    this.#threads = threads;
  }

  static async open(
    sources: readonly KeySource[],
    dim: number,
    threads = Math.min(MOST_THREADS, availableParallelism()),
  ): Promise<KeyRanker> {
    return new KeyRanker({ module: await compileListKernels(), sources, dim }, threads);
  }

  /** Each query's entries, nearest first. Errors: `IO`, `STORE_CORRUPT`, `ABORTED`. */
  async rank(task: Omit<RerankTask, 'kind'>): Promise<RankedRows> {
    this.#pool ??= new WorkerPool(
      new URL('./rank-worker.js', import.meta.url),
      this.#threads,
      () => this.#start,
    );
    return await this.#pool.run<RankedRows>({ kind: 'rerank', ...task } satisfies RerankTask);
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}
