/** Reading tokenizer.json and encoding documents off the calling thread. The worker starts on first use. */
import { Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import type { ChatMessage } from './chat-template.ts';
import type { TokenizerFacts } from './hf-tokenizer.ts';
import type { FactsRequest, ModelFacts } from './model-facts.ts';
import { deserializeError, type SerializedError } from './worker-protocol.ts';

type Answer = { id: number } & ({ response: unknown } | { error: SerializedError });

interface Pending {
  resolve: (response: never) => void;
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

  /** Begins to read tokenizer.json. */
  start(): void {
    this.#worker ??= this.#launch();
  }

  encode(texts: readonly string[]): Promise<Int32Array[]> {
    return this.#request({ texts });
  }

  /** Errors: those of `renderChat`. */
  encodeChat(messages: readonly ChatMessage[]): Promise<Int32Array> {
    return this.#request({ messages });
  }

  /** What the JSON files and the graph say of the model. Errors: those of `readModelFacts`. */
  facts(request: FactsRequest): Promise<ModelFacts> {
    return this.#request({ facts: request });
  }

  /** What decoding needs. Errors: `MODEL_UNSUPPORTED` for a tokenizer that cannot be used. */
  tokens(): Promise<TokenizerFacts> {
    return this.#request({ tokens: true });
  }

  #request<Response>(request: Record<string, unknown>): Promise<Response> {
    const worker = (this.#worker ??= this.#launch());
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      worker.ref();
      worker.postMessage({ id, ...request });
    });
  }

  #launch(): Worker {
    const worker = new Worker(new URL('./tokenizer-worker.js', import.meta.url), {
      workerData: { folder: this.#folder },
    });
    worker.on('message', (answer: Answer) => {
      const pending = this.#pending.get(answer.id);
      this.#pending.delete(answer.id);
      if (this.#pending.size === 0) worker.unref();
      if ('error' in answer) pending?.reject(deserializeError(answer.error));
      else pending?.resolve(answer.response as never);
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
