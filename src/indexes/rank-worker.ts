/** A worker that compares entries exactly. One task at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import { bytesPerKey } from './chunk.ts';
import type { MeasureTask, RankedPlaces, RankTask } from './ivf/ivf-task.ts';
import { KernelMemory, Layout } from './ivf/list-kernels.ts';
import { Reranker, rerankLayout } from './ivf/rerank.ts';
import type { RankWorkerStart } from './key-ranker.ts';
import type { Answer } from './worker-pool.ts';

const { module, sources, dim } = workerData as RankWorkerStart;
let reranker: Reranker | undefined;

function open(): Reranker {
  const layout = new Layout();
  const at = rerankLayout(layout, dim, bytesPerKey(sources[0]!.dtype, dim));
  return new Reranker(new KernelMemory(module, layout.end), at, sources, dim);
}

parentPort!.on('message', (task: RankTask | MeasureTask) => {
  let answer: Answer<RankedPlaces | Float32Array>;
  try {
    reranker ??= open();
    answer = { result: task.kind === 'rank' ? reranker.rank(task) : reranker.measure(task) };
  } catch (error) {
    answer = {
      error:
        error instanceof KnnLMError
          ? { message: error.message, code: error.code }
          : { message: error instanceof Error ? (error.stack ?? error.message) : `${error}` },
    };
  }
  const result = 'result' in answer ? answer.result : undefined;
  const arrays = result && 'places' in result ? [result.places, result.distances] : [result];
  const buffers = arrays.flatMap((array) => (array ? [array.buffer as ArrayBuffer] : []));
  parentPort!.postMessage(answer, buffers);
});
