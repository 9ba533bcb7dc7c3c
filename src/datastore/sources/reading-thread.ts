/** The main thread's side of the reading worker: asks for batches, one ahead of what is being used. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../../errors.ts';
import type { ReadJob, ReadReply, ReadTask } from './read-worker.ts';
import type { ReadOptions, ReadSettings } from './source-types.ts';

/** Replies of the worker until it is done. Errors: the worker's own, `ABORTED`. */
export async function* replies(task: ReadTask, options: ReadOptions): AsyncGenerator<ReadReply> {
  const { onSkip, signal, ...settings } = options;
  if (signal?.aborted) throw stopped();
  const worker = startWorker({ ...task, settings: settings satisfies ReadSettings });
  const ended = new AbortController();
  const stop = (): void => ended.abort();
  signal?.addEventListener('abort', stop);
  try {
    let reply = ask(worker, ended.signal);
    for (;;) {
      const { skips, error, ...rest } = await reply;
      for (const skip of skips) onSkip?.(skip);
      if (!rest.done) {
        reply = ask(worker, ended.signal);
        // Seen when it is awaited, which the consumer may never ask for.
        reply.catch(() => undefined);
      }
      yield { skips, ...rest };
      if (signal?.aborted) throw stopped();
      if (error) throw revived(error);
      if (rest.done) return;
    }
  } catch (error) {
    throw signal?.aborted ? stopped() : error;
  } finally {
    signal?.removeEventListener('abort', stop);
    if (readsStdin(task)) {
      process.stdin.unpipe();
      process.stdin.pause();
    }
    await worker.terminate();
  }
}

const readsStdin = (job: ReadTask): boolean => job.task === 'read' && job.inputs.includes('-');

function startWorker(job: ReadJob): Worker {
  const wantsStdin = readsStdin(job);
  const worker = new Worker(new URL('./read-worker.js', import.meta.url), {
    workerData: job,
    stdin: wantsStdin,
  });
  // The main thread feeds it: a worker that blocks in a read of its own could not be ended.
  if (wantsStdin) process.stdin.pipe(worker.stdin!);
  return worker;
}

async function ask(worker: Worker, signal: AbortSignal): Promise<ReadReply> {
  // `once` rejects on the worker's `error` event too.
  const reply = once(worker, 'message', { signal });
  worker.postMessage('next');
  return (await reply)[0] as ReadReply;
}

function revived({ code, message, stack }: NonNullable<ReadReply['error']>): Error {
  if (code) return new KnnLMError(code, message);
  return Object.assign(new Error(message), { stack });
}

const stopped = (): KnnLMError => new KnnLMError('ABORTED', 'Reading the documents was stopped.');
