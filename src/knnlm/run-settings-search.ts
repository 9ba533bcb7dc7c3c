/** Runs the settings search in a worker thread: it computes for seconds, and the event loop must not wait. */
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import type { OfflineTask, OfflineTuning } from './fit-offline.ts';

/** Errors: `ABORTED`. */
export function runSettingsSearch(task: OfflineTask, signal?: AbortSignal): Promise<OfflineTuning> {
  const stopped = (): KnnLMError => new KnnLMError('ABORTED', 'The tuning was stopped.');
  if (signal?.aborted) return Promise.reject(stopped());
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./search-settings-worker.js', import.meta.url), {
      workerData: task,
    });
    const stop = (): void => {
      reject(stopped());
      worker.terminate();
    };
    signal?.addEventListener('abort', stop, { once: true });
    worker.once('message', resolve);
    worker.once('error', reject);
    worker.once('exit', () => {
      signal?.removeEventListener('abort', stop);
      reject(new Error('The settings worker ended without a result.'));
    });
  });
}
