/** Exact distances of some entries by their stored keys, in worker threads: what an index elsewhere proposed is ranked here. */
import { availableParallelism } from 'node:os';
import type { KeySource } from '../math/vectors.ts';
import type { MeasureTask, RankedPlaces, RankTask } from './ivf/ivf-task.ts';
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

  /** Tasks that run at the same time. */
  get threads(): number {
    return this.#threads;
  }

  /** Errors: `IO`, `STORE_CORRUPT`, `ABORTED`. */
  async rank(task: Omit<RankTask, 'kind'>): Promise<RankedPlaces> {
    return await this.#workers.run<RankedPlaces>({ kind: 'rank', ...task } satisfies RankTask);
  }

  /** Distances of entries that ascend within each query, in their order. Errors: as `rank`. */
  async measure(task: Omit<MeasureTask, 'kind'>): Promise<Float32Array> {
    const wanted: MeasureTask = { kind: 'measure', ...task };
    return await this.#workers.run<Float32Array>(wanted);
  }

  get #workers(): WorkerPool {
    const script = new URL('./rank-worker.js', import.meta.url);
    this.#pool ??= new WorkerPool(script, this.#threads, () => this.#start);
    return this.#pool;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }
}
