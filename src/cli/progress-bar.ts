/**
 * Progress of long work on standard error: a bar that is redrawn on a terminal, a plain line every few seconds elsewhere.
 * Not @clack/prompts: while its bar shows, the terminal is in raw mode and Ctrl-C exits the process with 0 at once,
 * which leaves no room for the clean stop that a resumable build needs.
 */

import type { Progress } from '../knnlm/types.ts';
import { bytes, count, duration } from './numbers.ts';
import type { Colors } from './screen.ts';
import { truncate } from './text.ts';

const BAR_COLUMNS = 24;
const REDRAW_MS = 100;
const LINE_MS = 5000;
/** The rate is that of the last few seconds: an index phase must not be forecast from reading. */
const RATE_SECONDS = 20;

export interface ProgressBarOptions {
  stream: { write(text: string): unknown; isTTY?: boolean; columns?: number };
  colors: Colors;
  /** Milliseconds; tests give their own. */
  now?: () => number;
}

export class ProgressBar {
  readonly #options: Required<ProgressBarOptions>;
  #phase = '';
  #samples: { at: number; done: number }[] = [];
  #lastShown = Number.NEGATIVE_INFINITY;
  #drawn = '';

  constructor(options: ProgressBarOptions) {
    this.#options = { now: () => performance.now(), ...options };
  }

  update(progress: Progress): void {
    const now = this.#options.now();
    if (progress.phase !== this.#phase) {
      this.#phase = progress.phase;
      this.#samples = [];
      if (this.#options.stream.isTTY) this.#lastShown = Number.NEGATIVE_INFINITY;
      // Elsewhere short phases pass without a line.
      else if (this.#lastShown === Number.NEGATIVE_INFINITY) this.#lastShown = now;
    }
    this.#samples.push({ at: now, done: progress.done });
    while (this.#samples.length > 2 && now - this.#samples[0]!.at > RATE_SECONDS * 1000)
      this.#samples.shift();
    const { stream } = this.#options;
    if (now - this.#lastShown < (stream.isTTY ? REDRAW_MS : LINE_MS)) return;
    this.#lastShown = now;
    if (stream.isTTY) this.#draw(this.#barText(progress));
    else stream.write(`${progress.phase}: ${this.#facts(progress).join(', ')}\n`);
  }

  /** Takes the bar off the terminal, so that something else can be written there. The next update draws it again. */
  clear(): void {
    if (this.#drawn === '') return;
    this.#options.stream.write('\r\x1b[K');
    this.#drawn = '';
    this.#lastShown = Number.NEGATIVE_INFINITY;
  }

  #draw(text: string): void {
    this.#options.stream.write(`\r${text}\x1b[K`);
    this.#drawn = text;
  }

  #barText(progress: Progress): string {
    const { colors, stream } = this.#options;
    const share = progress.total ? Math.min(1, progress.done / progress.total) : undefined;
    const filled = Math.round((share ?? 0) * BAR_COLUMNS);
    const bar =
      share === undefined
        ? ''
        : `${colors.cyan('━'.repeat(filled))}${colors.dim('━'.repeat(BAR_COLUMNS - filled))}  `;
    const room = (stream.columns ?? 80) - 1 - 12 - (bar === '' ? 0 : BAR_COLUMNS + 2);
    const facts = truncate(this.#facts(progress).join(' · '), Math.max(1, room));
    return `${progress.phase.padEnd(11)} ${bar}${colors.dim(facts)}`;
  }

  /** `43%`, `12,345 of 30,000 tokens`, `8,123/s`, `2 s left`, as far as they are known. */
  #facts({ done, total, unit }: Progress): string[] {
    const facts: string[] = [];
    if (total) facts.push(`${Math.floor((100 * Math.min(done, total)) / total)}%`);
    const amount = unit === 'bytes' ? bytes : count;
    const noun = unit === 'bytes' ? '' : ` ${unit}`;
    facts.push(total ? `${amount(done)} of ${amount(total)}${noun}` : `${amount(done)}${noun}`);
    const first = this.#samples[0]!;
    const seconds = (this.#samples.at(-1)!.at - first.at) / 1000;
    const rate = seconds > 0.5 ? (done - first.done) / seconds : 0;
    if (rate > 0) {
      facts.push(`${amount(rate)}/s`);
      if (total) facts.push(`${duration(Math.max(0, total - done) / rate)} left`);
    }
    return facts;
  }
}
