/** Runs the settings search in a worker thread: it computes for seconds, and the event loop must not wait. */
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import type { SettingsSearch } from './search-settings.ts';
import type { TrainedGate } from './train-gate.ts';

export interface OfflineTuning {
  search: SettingsSearch;
  /** Undefined when there were too few targets to fit one. */
  gate?: TrainedGate;
}

/** Errors: `ABORTED`. */
export function runSettingsSearch(
  table: NeighborTable,
  signal?: AbortSignal,
): Promise<OfflineTuning> {
  const stopped = (): KnnLMError => new KnnLMError('ABORTED', 'The tuning was stopped.');
  if (signal?.aborted) return Promise.reject(stopped());
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('./search-settings-worker.js', import.meta.url), {
      workerData: table,
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
