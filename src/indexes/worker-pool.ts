/** A few long-lived worker threads that take tasks from one queue, one at a time each. */
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, KnnLMError } from '../errors.ts';

/** What a worker answers: a result or an error, which structured cloning would strip of its class. */
export type Answer<R> = { result: R } | { error: { message: string; code?: ErrorCode } };

interface Job {
  task: unknown;
  resolve: (result: never) => void;
  reject: (error: unknown) => void;
}

/**
 * How long closing waits for what is running. A worker that runs longer is ended when it has answered: ended while it loads
 * onnxruntime, it would take the process with it.
 */
const GRACE_MS = 5000;

export class WorkerPool {
  readonly #workers: Worker[];
  readonly #idle: Worker[];
  readonly #queue: Job[] = [];
  readonly #running = new Map<Worker, Job>();
  /** Workers that have not answered yet, whether or not their callers still wait. */
  readonly #busy = new Set<Worker>();
  #rested: (() => void) | undefined;
  #failure: Error | undefined;
  #isClosed = false;

  /** @param dataOf what worker number i is started with */
  constructor(script: URL, threads: number, dataOf: (worker: number) => unknown) {
    this.#workers = Array.from(
      { length: threads },
      (_, i) => new Worker(script, { workerData: dataOf(i) }),
    );
    this.#idle = [...this.#workers];
    for (const worker of this.#workers) {
      worker.unref(); // an idle index must not keep a process alive
      worker.on('message', (answer: Answer<never>) => this.#finish(worker, answer));
      worker.on('error', (error) => this.#fail(error as Error));
      worker.on('exit', () => {
        this.#fail(new Error('A search worker stopped unexpectedly.'));
        this.#rest(worker);
      });
    }
  }

  get threads(): number {
    return this.#workers.length;
  }

  run<R>(task: unknown): Promise<R> {
    return new Promise((resolve, reject) => {
      if (this.#failure) return reject(this.#failure);
      this.#queue.push({ task, resolve, reject });
      this.#dispatch();
    });
  }

  /** Tells every worker something; needs all workers idle. */
  broadcast(task: unknown): Promise<unknown[]> {
    if (this.#idle.length < this.#workers.length) throw new Error('A worker is busy.');
    return Promise.all(this.#workers.map(() => this.run(task)));
  }

  async close(): Promise<void> {
    this.#fail(new KnnLMError('ABORTED', 'The index was closed while a search was running.'));
    if (this.#busy.size > 0) {
      const allRested = new Promise<void>((resolve) => {
        this.#rested = resolve;
      });
      await Promise.race([allRested, sleep(GRACE_MS, undefined, { ref: false })]);
    }
    this.#isClosed = true;
    for (const worker of this.#busy) worker.unref();
    const resting = this.#workers.filter((worker) => !this.#busy.has(worker));
    await Promise.all(resting.map((worker) => worker.terminate()));
  }

  #dispatch(): void {
    while (this.#queue.length > 0 && this.#idle.length > 0) {
      const worker = this.#idle.shift()!;
      const job = this.#queue.shift()!;
      this.#running.set(worker, job);
      this.#busy.add(worker);
      worker.ref();
      worker.postMessage(job.task);
    }
  }

  #finish(worker: Worker, answer: Answer<never>): void {
    const job = this.#running.get(worker);
    this.#running.delete(worker);
    this.#idle.push(worker);
    worker.unref();
    this.#rest(worker);
    this.#dispatch();
    if ('result' in answer) job?.resolve(answer.result);
    else job?.reject(toError(answer.error));
  }

  #rest(worker: Worker): void {
    this.#busy.delete(worker);
    if (this.#isClosed) void worker.terminate();
    if (this.#busy.size === 0) this.#rested?.();
  }

  #fail(error: Error): void {
    if (this.#failure) return;
    this.#failure = error;
    for (const job of [...this.#running.values(), ...this.#queue]) job.reject(error);
    this.#running.clear();
    this.#queue.length = 0;
  }
}

function toError({ message, code }: { message: string; code?: ErrorCode }): Error {
  return code ? new KnnLMError(code, message) : new Error(message);
}
