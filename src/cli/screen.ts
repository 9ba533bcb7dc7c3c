/**
 * Where a command writes: its result to standard output, everything else to standard error.
 * With --json the result is one JSON object and nothing else ever reaches standard output.
 */
import picocolors from 'picocolors';
import type { Progress } from '../knnlm/types.ts';
import type { DownloadProgress } from '../model/language-model.ts';
import { ProgressBar } from './progress-bar.ts';
import { oneLine, toJson } from './text.ts';

export type Colors = ReturnType<typeof picocolors.createColors>;

export interface ScreenStream {
  write(text: string): unknown;
  isTTY?: boolean;
  columns?: number;
  getColorDepth?(): number;
}

export interface ScreenOptions {
  json?: boolean;
  /** False for --no-color. */
  color?: boolean;
  stdout?: ScreenStream;
  stderr?: ScreenStream;
  environment?: Record<string, string | undefined>;
}

/** Bits of color: 1 none, 4 the sixteen, 8 the 256, 24 all. NO_COLOR, FORCE_COLOR, TERM and COLORTERM decide, and --no-color over all. */
export function colorDepth(
  stream: ScreenStream,
  options: Pick<ScreenOptions, 'color' | 'environment'> = {},
): number {
  const environment = options.environment ?? process.env;
  if (options.color === false || environment.NO_COLOR) return 1;
  const forced = environment.FORCE_COLOR;
  if (forced !== undefined && forced !== '') {
    return { '0': 1, false: 1, '2': 8, '3': 24 }[forced] ?? 4;
  }
  return stream.isTTY ? (stream.getColorDepth?.() ?? 1) : 1;
}

export class Screen {
  readonly isJson: boolean;
  /** Bits of color on standard output. */
  readonly depth: number;
  /** For results, on standard output. */
  readonly colors: Colors;
  /** For notes, on standard error. */
  readonly errorColors: Colors;
  readonly #stdout: ScreenStream;
  readonly #stderr: ScreenStream;
  readonly #bar: ProgressBar;

  constructor(options: ScreenOptions = {}) {
    this.isJson = options.json ?? false;
    this.#stdout = options.stdout ?? process.stdout;
    this.#stderr = options.stderr ?? process.stderr;
    this.depth = colorDepth(this.#stdout, options);
    this.colors = picocolors.createColors(this.depth > 1);
    this.errorColors = picocolors.createColors(colorDepth(this.#stderr, options) > 1);
    this.#bar = new ProgressBar({ stream: this.#stderr, colors: this.errorColors });
  }

  /** A person is reading standard output. */
  get isTerminal(): boolean {
    return this.#stdout.isTTY === true && !this.isJson;
  }

  get columns(): number {
    return this.#stdout.columns ?? 80;
  }

  /** A command's result: `value` with --json, `text` (any number of lines) otherwise. */
  result(value: unknown, text: () => string): void {
    this.#bar.clear();
    this.#stdout.write(this.isJson ? `${toJson(value)}\n` : `${text()}\n`);
  }

  /** Part of a stream on standard output, written as it is. */
  write(text: string): void {
    this.#bar.clear();
    this.#stdout.write(text);
  }

  /** What a person may want to know while waiting; standard error. */
  note(text: string): void {
    this.#bar.clear();
    this.#stderr.write(`${text}\n`);
  }

  warn(text: string): void {
    this.note(`${this.errorColors.yellow('warning:')} ${text}`);
  }

  error(text: string): void {
    this.note(`${this.errorColors.red('error:')} ${text}`);
  }

  readonly progress = (progress: Progress): void => this.#bar.update(progress);

  readonly download = ({ file, receivedBytes, totalBytes }: DownloadProgress): void =>
    this.progress({
      phase: `fetching ${oneLine(file)}`,
      done: receivedBytes,
      total: totalBytes || undefined,
      unit: 'bytes',
    });

  readonly skipped = ({ source, reason }: { source: string; reason: string }): void =>
    this.warn(`skipped ${oneLine(source)}: ${oneLine(reason)}`);

  clearProgress(): void {
    this.#bar.clear();
  }
}
