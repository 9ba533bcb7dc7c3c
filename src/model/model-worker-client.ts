/** The main thread's end of one model worker: requests as promises; a worker that dies fails what it was doing. */
import { type ResourceLimits, Worker } from 'node:worker_threads';
import { KnnLMError } from '../errors.ts';
import { turns } from '../math/turns.ts';
import type { SessionName } from './model-runtime.ts';
import {
  deserializeError,
  type RequestMessage,
  type RequestName,
  type Requests,
  type ResponseMessage,
} from './worker-protocol.ts';

interface Pending {
  resolve: (value: never) => void;
  reject: (error: Error) => void;
}

/**
 * How long loading a model and reading a dozen tokens may take: a graph that loops without end must not hold up a program.
 * Counted in steps, so that hours in which the system paused the whole process count as one.
 */
const PREPARE_TIMEOUT_MS = 120_000;
const PREPARE_STEP_MS = 1_000;

/** How long a worker may take to finish its run and release its sessions. */
const CLOSE_TIMEOUT_MS = 5_000;

export class ModelWorkerClient {
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  readonly #exited: Promise<void>;
  readonly #prepared = new Map<SessionName, Promise<void>>();
  #outgoing: RequestMessage[] = [];
  #nextId = 1;
  #dead: Error | undefined;

  /** @param entry the worker's script */
  constructor(
    entry: URL = new URL('./model-worker.js', import.meta.url),
    resourceLimits?: ResourceLimits,
  ) {
    this.#worker = new Worker(entry, { resourceLimits });
    this.#worker.on('message', (messages: ResponseMessage[]) => {
      if (messages.length === 1) return this.#settle(messages[0]!);
      for (const message of messages) void turns.take().then(() => this.#settle(message));
    });
    this.#worker.on('error', (error) => this.#die(workerError(error)));
    this.#exited = new Promise((resolve) => {
      this.#worker.on('exit', (code) => {
        this.#die(new Error(`The model worker ended unexpectedly with exit code ${code}.`));
        resolve();
      });
    });
    // An open model must not keep a finished program alive; a request does.
    this.#worker.unref();
  }

  request<Name extends RequestName>(
    name: Name,
    request: Requests[Name]['request'],
  ): Promise<Requests[Name]['response']> {
    if (this.#dead) return Promise.reject(this.#dead);
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.ref();
      // What a heap of answers leads to goes in one message, so that the next tokens of several texts share a run.
      if (this.#outgoing.push({ id, name, request }) === 1) turns.afterwards(() => this.#send());
    });
  }

  #send(): void {
    this.#worker.postMessage(this.#outgoing);
    this.#outgoing = [];
  }

  /** Makes a session and checks it, once. Errors: `MODEL_UNSUPPORTED` when it fails or takes too long. */
  prepare(session: SessionName, timeoutMs = PREPARE_TIMEOUT_MS): Promise<void> {
    let prepared = this.#prepared.get(session);
    if (prepared === undefined) {
      prepared = this.#withTimeout(this.request('prepare', session), timeoutMs);
      this.#prepared.set(session, prepared);
    }
    return prepared;
  }

  async #withTimeout(prepared: Promise<undefined>, timeoutMs: number): Promise<void> {
    let stepsLeft = Math.max(1, timeoutMs / PREPARE_STEP_MS);
    const timer = setInterval(
      () => {
        if (--stepsLeft > 0) return;
        clearInterval(timer);
        this.#die(
          new KnnLMError(
            'MODEL_UNSUPPORTED',
            `The model could not read a dozen tokens within ${timeoutMs / 1000} seconds. Use a smaller model or another export.`,
          ),
        );
        void this.#worker.terminate();
      },
      Math.min(timeoutMs, PREPARE_STEP_MS),
    );
    await prepared.finally(() => clearInterval(timer));
  }

  #settle(message: ResponseMessage): void {
    const pending = this.#pending.get(message.id);
    if (pending === undefined) return;
    this.#pending.delete(message.id);
    if (this.#pending.size === 0) this.#worker.unref();
    if ('error' in message) pending.reject(deserializeError(message.error));
    else pending.resolve(message.response as never);
  }

  #die(error: Error): void {
    this.#dead ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#dead);
    this.#pending.clear();
  }

  async close(): Promise<void> {
    const closed = new KnnLMError('ABORTED', 'The model was closed.');
    this.#die(closed);
    this.#worker.ref();
    this.#worker.postMessage('close');
    // A thread inside a run that does not end cannot be ended either: it must not take its caller along.
    let timer: NodeJS.Timeout | undefined;
    const gaveUp = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        void this.#worker.terminate();
        this.#worker.unref();
        timer = setTimeout(resolve, CLOSE_TIMEOUT_MS);
      }, CLOSE_TIMEOUT_MS);
    });
    await Promise.race([this.#exited, gaveUp]);
    clearTimeout(timer);
  }
}

function workerError(error: Error): Error {
  if ((error as NodeJS.ErrnoException).code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return new KnnLMError(
      'IO',
      'The model ran out of memory. Use fewer workers, a smaller window or a smaller dtype.',
      { cause: error },
    );
  }
  return error;
}
