/**
 * Keeps long loops on the main thread from stalling the event loop: call `pause()` between small pieces of work,
 * and it lets other work run whenever the slice is used up.
 */
export class Breather {
  readonly #sliceMs: number;
  #since = performance.now();

  /** @param sliceMs longest uninterrupted work, in milliseconds. */
  constructor(sliceMs = 4) {
    this.#sliceMs = sliceMs;
  }

  /** True when it is time to `await pause()`. */
  get due(): boolean {
    return performance.now() - this.#since > this.#sliceMs;
  }

  async pause(): Promise<void> {
    if (!this.due) return;
    await new Promise<void>((resolve) => setImmediate(resolve));
    this.#since = performance.now();
  }
}
