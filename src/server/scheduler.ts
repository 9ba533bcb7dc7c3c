/**
 * Who may work now. A slot is one text that is generated or scored. While all are taken requests wait, a bounded number
 * of them; a slot that comes free goes to the client that has been served least, and of its requests to the one that has
 * (start-time fair queueing, Goyal et al. 1996, every text counting as one). So neither many requests nor a request with
 * many prompts keep others waiting for more than their share.
 */
import { Refusal } from './refusal.ts';

export interface SchedulerOptions {
  /** Texts at the same time. */
  slots: number;
  /** Requests that may wait. */
  queue: number;
  /** Of one client. Default half of them. */
  queuePerClient?: number;
}

/** A place in a fair queue: how much has been served, on a clock that others share. */
interface Account {
  served: number;
}

interface Client extends Account {
  name: string;
  /** The clock of its requests. */
  now: number;
  /** Requests that have not ended, and those of them without a slot so far. */
  requests: number;
  waiting: number;
}

interface Waiting {
  turn: Turn;
  grant: () => void;
}

const MOST_RETRY_SECONDS = 60;

export class Scheduler {
  readonly #options: Required<SchedulerOptions>;
  readonly #clients = new Map<string, Client>();
  readonly #waiting: Waiting[] = [];
  /** The clock of the clients: what the one served last had been served before. */
  #now = 0;
  #busy = 0;
  /** Requests without a slot so far, and those with one. */
  waiting = 0;
  active = 0;
  /** Mean time that a slot was held, in milliseconds; recent ones count most. */
  #heldMs = 0;

  constructor(options: SchedulerOptions) {
    const queuePerClient = options.queuePerClient ?? Math.max(1, Math.ceil(options.queue / 2));
    this.#options = { ...options, queuePerClient };
  }

  /** Errors: `Refusal` with 503 when the queue is full, with 429 when it is full of this client's own. */
  admit(name: string): Turn {
    const { slots, queue, queuePerClient } = this.#options;
    const client = this.#clients.get(name) ?? {
      name,
      served: this.#now,
      now: 0,
      requests: 0,
      waiting: 0,
    };
    const mustWait = this.#busy >= slots || this.waiting > 0;
    if (mustWait && this.waiting >= queue) throw this.#refusal(503, 'The server is busy');
    if (mustWait && client.waiting >= queuePerClient) {
      throw this.#refusal(429, `${client.waiting} requests of this client are waiting`);
    }
    this.#clients.set(name, client);
    client.requests++;
    client.waiting++;
    this.waiting++;
    return new Turn(this, client);
  }

  #refusal(status: number, what: string): Refusal {
    const seconds = (this.#heldMs * (this.waiting + 1)) / this.#options.slots / 1000;
    const retryAfter = Math.min(MOST_RETRY_SECONDS, Math.max(1, Math.ceil(seconds)));
    const code = status === 429 ? 'rate_limit_exceeded' : 'overloaded';
    return new Refusal(status, `${what}. Try again in ${retryAfter} s.`, { code, retryAfter });
  }

  /** For `Turn`. @returns what gives the slot back. Errors: the signal's reason. */
  async acquire(turn: Turn, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    await new Promise<void>((resolve, reject) => {
      const entry: Waiting = {
        turn,
        grant: () => {
          signal.removeEventListener('abort', leave);
          resolve();
        },
      };
      const leave = (): void => {
        this.#waiting.splice(this.#waiting.indexOf(entry), 1);
        reject(signal.reason);
      };
      signal.addEventListener('abort', leave, { once: true });
      this.#waiting.push(entry);
      this.#grant();
    });
    const since = performance.now();
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      this.#busy--;
      this.#heldMs += (performance.now() - since - this.#heldMs) / 8;
      this.#grant();
    };
  }

  #grant(): void {
    while (this.#busy < this.#options.slots && this.#waiting.length > 0) {
      let next = 0;
      for (let i = 1; i < this.#waiting.length; i++) {
        if (isBefore(this.#waiting[i]!.turn, this.#waiting[next]!.turn)) next = i;
      }
      const [{ turn, grant }] = this.#waiting.splice(next, 1) as [Waiting];
      this.#busy++;
      this.#now = turn.client.served++;
      turn.client.now = turn.served++;
      turn.begin();
      grant();
    }
  }

  /** For `Turn`. */
  begun(client: Client): void {
    client.waiting--;
    this.waiting--;
    this.active++;
  }

  /** For `Turn`. */
  ended(client: Client, hadBegun: boolean): void {
    if (hadBegun) this.active--;
    else {
      client.waiting--;
      this.waiting--;
    }
    if (--client.requests === 0) this.#clients.delete(client.name);
  }
}

/** Whether a waits for less than b has had. Who asked first is first among equals. */
function isBefore(a: Turn, b: Turn): boolean {
  if (a.client !== b.client) return a.client.served < b.client.served;
  return a.served < b.served;
}

/** A request in the queue, from its admission to its end. */
export class Turn implements Account {
  readonly client: Client;
  served: number;
  readonly #scheduler: Scheduler;
  #hasBegun = false;
  #hasEnded = false;

  constructor(scheduler: Scheduler, client: Client) {
    this.#scheduler = scheduler;
    this.client = client;
    this.served = client.now;
  }

  /** Waits for a slot. @returns what gives it back, once. Errors: the signal's reason. */
  slot(signal: AbortSignal): Promise<() => void> {
    return this.#scheduler.acquire(this, signal);
  }

  /** For the scheduler. */
  begin(): void {
    if (this.#hasBegun) return;
    this.#hasBegun = true;
    this.#scheduler.begun(this.client);
  }

  /** Slots that are still held stay so until they are given back. */
  end(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#scheduler.ended(this.client, this.#hasBegun);
  }
}
