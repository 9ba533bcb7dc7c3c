/** One request from its first line to the last of its reply: its signal, its turn, its end. */
import { setMaxListeners } from 'node:events';
import { newId } from './identity.ts';
import { Refusal, refusalOf } from './refusal.ts';
import type { Turn } from './scheduler.ts';
import type { Service } from './service.ts';

/** Nobody reads what is answered with it. */
const GONE = 499;

export class Call {
  readonly id = newId('req');
  readonly service: Service;
  readonly request: Request;
  readonly url: URL;
  /** Its route's path as the OpenAPI document has it. */
  route = 'none';
  /** Aborted when the client has gone, when time is up, and when the server ends what has not finished. */
  readonly signal: AbortSignal;
  /** Resolved when nothing is done for it any more. */
  readonly ended: Promise<void>;
  readonly #address: string;
  readonly #abort = new AbortController();
  readonly #started = performance.now();
  readonly #timer: NodeJS.Timeout;
  #turn: Turn | undefined;
  #user: string | undefined;
  #resolveEnded: () => void = () => undefined;
  #hasEnded = false;

  /** @param address of the client, as far as it is known */
  constructor(service: Service, request: Request, address: string) {
    this.service = service;
    this.request = request;
    this.url = new URL(request.url);
    this.#address = address;
    this.signal = this.#abort.signal;
    // Each text that waits for a slot listens.
    setMaxListeners(0, this.signal);
    this.ended = new Promise((resolve) => {
      this.#resolveEnded = resolve;
    });
    const { timeoutMs } = service.options;
    this.#timer = setTimeout(() => {
      const seconds = Math.round(timeoutMs / 1000);
      this.abort(
        new Refusal(503, `The request took longer than ${seconds} s. Ask for less at a time.`, {
          code: 'timeout',
        }),
      );
    }, timeoutMs);
    request.signal.addEventListener('abort', this.#leave, { once: true });
    if (request.signal.aborted) this.#leave();
  }

  readonly #leave = (): void => this.abort(new Refusal(GONE, 'The client has gone.'));

  abort(reason: Refusal): void {
    if (!this.signal.aborted) this.#abort.abort(reason);
  }

  /** Requests of one user of a client wait behind one another. */
  set user(name: string | null | undefined) {
    this.#user = name ?? undefined;
  }

  /** Waits until a text may be worked on. @returns what gives the slot back. Errors: `Refusal` when too many wait. */
  async slot(): Promise<() => void> {
    this.#turn ??= this.service.scheduler.admit(this.#client);
    return await this.#turn.slot(this.signal);
  }

  /** Waits until the stores may be changed. Errors: as `slot`. */
  async writerSlot(): Promise<() => void> {
    this.#turn ??= this.service.writers.admit(this.#client);
    return await this.#turn.slot(this.signal);
  }

  get #client(): string {
    return JSON.stringify([this.#address, this.#user]);
  }

  /** Runs in a slot. */
  async work<Result>(work: () => Promise<Result>): Promise<Result> {
    const release = await this.slot();
    try {
      return await work();
    } finally {
      release();
    }
  }

  /** What to tell of an error. What is a fault of ours goes to the log. */
  refusalOf(error: unknown): Refusal {
    // Whatever an aborted call fails with, that it was aborted is why.
    const cause = this.signal.aborted ? this.signal.reason : error;
    const refusal = refusalOf(cause, this.service.folders);
    if (refusal.status >= 500 && cause === error) this.#log(error, refusal);
    return refusal;
  }

  #log(error: unknown, refusal: Refusal): void {
    if (error === refusal) return;
    const { method } = this.request;
    this.service.options.onError?.(error, { method, path: this.url.pathname, id: this.id });
  }

  get hasLeft(): boolean {
    return this.signal.aborted && (this.signal.reason as Refusal).status === GONE;
  }

  end(status: number): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    this.request.signal.removeEventListener('abort', this.#leave);
    this.#turn?.end();
    const seconds = (performance.now() - this.#started) / 1000;
    this.service.metrics.answered(this.route, status, seconds);
    this.#resolveEnded();
  }
}
