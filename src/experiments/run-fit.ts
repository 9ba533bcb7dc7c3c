/** Runs a fit in a worker thread: it computes for seconds, and the event loop must not wait. */
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import type { NeighborTable } from '../knnlm/cached-neighbors.ts';
import type { Fit, Halves } from './fit.ts';

/** Errors: `ABORTED`. */
export function runFit(tables: Halves<NeighborTable>, signal?: AbortSignal): Promise<Fit> {
  const stopped = (): KnnLMError => new KnnLMError('ABORTED', 'The experiment was stopped.');
  if (signal?.aborted) return Promise.reject(stopped());
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./fit-worker.js', import.meta.url), { workerData: tables });
    const stop = (): void => {
      reject(stopped());
      worker.terminate();
    };
    signal?.addEventListener('abort', stop, { once: true });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => {
      signal?.removeEventListener('abort', stop);
      reject(new Error('The fitting worker ended without a result.'));
    });
  });
}
