/**
 * Who is worth waiting for. A step costs the weights once however many texts share it, and rows between its first and its last are
 * computed whether they are wanted or not; so one that starts with the first text that is back leaves the others a second one, and often
 * computes twice what it gives. What texts do between their tokens, such as searching, they mostly do together, so those of
 * a block are back soon after the first of them. Whoever takes much longer than is usual, such as one whose reader has paused, is not waited for.
 */

/** Of the usual time, how long a text is waited for. */
const PATIENCE = 2;
/** Of the usual time, how much of a long one is believed at once. */
const MOST_GROWTH = 4;
/** Texts whose mean the usual time is, about. */
const MEMORY = 16;
/** Milliseconds that are nothing unusual in any case, and those that nobody waits. */
const LEAST_MS = 1;
const MOST_MS = 100;

export class Pace {
  #usualMs = 0;

  /** A text came back so long after its answer, in milliseconds. */
  note(awayMs: number): void {
    const believed = Math.min(awayMs, MOST_GROWTH * this.#usualMs + LEAST_MS);
    this.#usualMs += (believed - this.#usualMs) / MEMORY;
  }

  /** Until when a text that was answered then is waited for: both of `performance.now()`. */
  patience(answered: number): number {
    return answered + Math.min(MOST_MS, PATIENCE * this.#usualMs + LEAST_MS);
  }
}
