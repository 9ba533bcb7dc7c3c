/** Encoding documents off the calling thread. The worker starts on first use and holds a tokenizer of its own. */
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import { deserializeError, type SerializedError } from './worker-protocol.ts';

type Answer = { id: number } & ({ response: Int32Array[] } | { error: SerializedError });

interface Pending {
  resolve: (ids: Int32Array[]) => void;
  reject: (error: Error) => void;
}

export class TokenizerThread {
  readonly #folder: string;
  readonly #pending = new Map<number, Pending>();
  #worker: Worker | undefined;
  #nextId = 1;

  constructor(folder: string) {
    this.#folder = folder;
  }

  encode(texts: readonly string[]): Promise<Int32Array[]> {
    const worker = (this.#worker ??= this.#start());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, texts });
    });
  }

  #start(): Worker {
    const worker = new Worker(new URL('./tokenizer-worker.js', import.meta.url), {
      workerData: { folder: this.#folder },
    });
    worker.on('message', (answer: Answer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (this.#pending.size === 0) worker.unref();
      if ('error' in answer) pending?.reject(deserializeError(answer.error));
      else pending?.resolve(answer.response);
    });
    worker.on('error', (error) => this.#fail(error));
    worker.on('exit', () => this.#fail(new Error('The tokenizer thread ended unexpectedly.')));
    worker.unref();
    return worker;
  }

  #fail(error: Error): void {
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
    this.#worker = undefined;
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#fail(new KnnLMError('ABORTED', 'The model was closed.'));
    await worker?.terminate();
  }
}
