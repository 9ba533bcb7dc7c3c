/**
 * Replies as server-sent events, one JSON object per `data:` line, then `data: [DONE]`. Events are made as they are
 * read: a slow client slows its own text down, and one that takes nothing for too long is given up.
 */
import type { Refusal } from './refusal.ts';

/** What a route returns to answer with events. */
export class Events<Event extends object = object> {
  readonly source: AsyncIterator<Event, unknown>;

  constructor(source: AsyncIterable<Event>) {
    this.source = source[Symbol.asyncIterator]();
  }
}

export interface EventStreamOptions {
  /** Longest time in which a client must take what was sent, in milliseconds. */
  stallMs: number;
  /** Stops whatever makes the events. */
  abort: (reason: 'gone' | 'stalled') => void;
  /** What to tell of an error; undefined when nobody listens. */
  describe: (error: unknown) => Refusal | undefined;
  /** Told once when nothing is made any more. @param refusal how it failed */
  onEnd: (refusal?: Refusal) => void;
}

/** Bytes made ahead of a client. */
const AHEAD_BYTES = 64 * 1024;
/** Silence after which a comment keeps the connection alive. */
const KEEP_ALIVE_MS = 15_000;

/** Errors: those of the source before its first event; then `onEnd` is not called. */
export async function eventStream(
  { source }: Events,
  options: EventStreamOptions,
): Promise<Response> {
  // Asked for before the status is sent: what is wrong with a request is an error like any other.
  const first = await source.next();
  const body = new ReadableStream<Uint8Array>(new EventSource(source, first, options), {
    highWaterMark: AHEAD_BYTES,
    size: (chunk) => chunk?.byteLength ?? 0,
  });
  return new Response(body, {
    headers: {
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
      // Proxies such as nginx would hold events back.
      'x-accel-buffering': 'no',
    },
  });
}

class EventSource {
  readonly #source: AsyncIterator<object, unknown>;
  readonly #options: EventStreamOptions;
  readonly #encoder = new TextEncoder();
  #next: Promise<IteratorResult<object, unknown>>;
  #stall: NodeJS.Timeout | undefined;
  #hasEnded = false;

  constructor(
    source: AsyncIterator<object, unknown>,
    first: IteratorResult<object, unknown>,
    options: EventStreamOptions,
  ) {
    this.#source = source;
    this.#next = Promise.resolve(first);
    this.#options = options;
  }

  async pull(controller: ReadableStreamDefaultController<Uint8Array>): Promise<void> {
    clearTimeout(this.#stall);
    const keepAlive = setInterval(() => this.#send(controller, ': waiting'), KEEP_ALIVE_MS);
    try {
      const { done, value } = await this.#next;
      if (this.#hasEnded) return;
      if (done) {
        this.#send(controller, 'data: [DONE]');
        controller.close();
        return this.#end();
      }
      this.#send(controller, `data: ${JSON.stringify(value)}`);
      this.#next = this.#source.next();
      // Heard of when it is waited for.
      this.#next.catch(() => undefined);
      if ((controller.desiredSize ?? 0) <= 0) this.#stall = this.#waitForReader(controller);
    } catch (error) {
      if (this.#hasEnded) return;
      const refusal = this.#options.describe(error);
      if (refusal) this.#send(controller, `data: ${JSON.stringify(refusal.reply)}`);
      controller.close();
      this.#end(refusal);
    } finally {
      clearInterval(keepAlive);
    }
  }

  /** The client has gone. */
  async cancel(): Promise<void> {
    await this.#giveUp('gone');
  }

  #send(controller: ReadableStreamDefaultController<Uint8Array>, text: string): void {
    if (!this.#hasEnded) controller.enqueue(this.#encoder.encode(`${text}\n\n`));
  }

  #waitForReader(controller: ReadableStreamDefaultController<Uint8Array>): NodeJS.Timeout {
    return setTimeout(() => {
      controller.error(new Error('The client took nothing for too long.'));
      void this.#giveUp('stalled');
    }, this.#options.stallMs);
  }

  async #giveUp(reason: 'gone' | 'stalled'): Promise<void> {
    clearTimeout(this.#stall);
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#options.abort(reason);
    // Whatever it is doing ends first: only then is its slot free.
    await this.#source.return?.().catch(() => undefined);
    this.#options.onEnd(this.#options.describe(undefined));
  }

  #end(refusal?: Refusal): void {
    clearTimeout(this.#stall);
    this.#hasEnded = true;
    this.#options.onEnd(refusal);
  }
}
