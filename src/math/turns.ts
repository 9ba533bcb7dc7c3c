/**
 * Work that comes in heaps, such as the answers to a batch, in slices: whoever waits for a turn goes on, one after another, and when a
 * slice is used up the event loop does everything else before the next. A lone taker goes on at once.
 */

/** Longest work between two rounds of the event loop, in milliseconds; the last turn of a slice may take longer. */
const SLICE_MS = 2;

export class Turns {
  readonly #waiting: (() => void)[] = [];
  readonly #after: (() => void)[] = [];
  /** When this round's first turn began. */
  #since: number | undefined;
  #isServing = false;

  take(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      if (this.#isServing) return;
      this.#isServing = true;
      process.nextTick(() => this.#serve());
    });
  }

  /** Does something when the slice at hand is over, once for all that its turns have asked for; at once where nobody has a turn. */
  afterwards(work: () => void): void {
    if (this.#isServing) this.#after.push(work);
    else work();
  }

  #serve(): void {
    if (this.#since === undefined) {
      this.#since = performance.now();
      setImmediate(() => this.#nextRound());
    }
    const isUsedUp = performance.now() - this.#since > SLICE_MS;
    if (this.#waiting.length === 0 || isUsedUp) {
      this.#isServing = this.#waiting.length > 0;
      for (const work of this.#after.splice(0)) work();
      return;
    }
    this.#waiting.shift()!();
    // A tick asked for by a microtask comes when all microtasks have run, those of this turn among them.
    queueMicrotask(() => process.nextTick(() => this.#serve()));
  }

  #nextRound(): void {
    this.#since = undefined;
    if (this.#isServing) this.#serve();
  }
}

/** The event loop is one, whatever its work belongs to. */
export const turns = new Turns();
