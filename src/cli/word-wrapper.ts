/**
 * Wraps text that arrives in pieces, each in its own color, at word borders and with a margin.
 * A word is held back until the space after it, so a line never has to be taken back.
 */
import type { Paint } from './palette.ts';
import { width } from './text.ts';

/** A longer run without spaces (a URL, Chinese text) is written in parts, so that a stream keeps moving. */
const LONGEST_HELD = 24;

export interface WordWrapperOptions {
  write: (text: string) => void;
  /** Columns of text, the margin not counted. Infinity never wraps. */
  columns: number;
  margin?: string;
}

export class WordWrapper {
  readonly #write: (text: string) => void;
  readonly #columns: number;
  readonly #margin: string;
  /** Columns used in the line so far. */
  #column = 0;
  #atLineStart = true;
  #spaces = '';
  #word: { text: string; paint: Paint }[] = [];
  #wordWidth = 0;

  constructor(options: WordWrapperOptions) {
    this.#write = options.write;
    this.#columns = options.columns;
    this.#margin = options.margin ?? '';
  }

  /** @param text safe text; newlines end a line */
  push(text: string, paint: Paint = (same) => same): void {
    for (const piece of text.match(/\n|[^\S\n]+|\S+/g) ?? []) {
      if (piece === '\n') this.#endLine();
      else if (piece.trim() === '') {
        this.#flushWord();
        this.#spaces += piece;
      } else {
        this.#word.push({ text: piece, paint });
        this.#wordWidth += width(piece);
        if (this.#wordWidth > LONGEST_HELD) this.#flushWord();
      }
    }
  }

  /** Writes what is held back and ends the line. */
  end(): void {
    this.#endLine();
  }

  #endLine(): void {
    this.#flushWord();
    this.#write('\n');
    this.#column = 0;
    this.#spaces = '';
    this.#atLineStart = true;
  }

  #flushWord(): void {
    if (this.#word.length === 0) return;
    const wanted = width(this.#spaces) + this.#wordWidth;
    if (this.#column > 0 && this.#column + wanted > this.#columns) {
      this.#write('\n');
      this.#column = 0;
      this.#spaces = '';
      this.#atLineStart = true;
    }
    if (this.#atLineStart) this.#write(this.#margin);
    this.#atLineStart = false;
    this.#write(this.#spaces + this.#word.map(({ text, paint }) => paint(text)).join(''));
    this.#column += width(this.#spaces) + this.#wordWidth;
    this.#spaces = '';
    this.#word = [];
    this.#wordWidth = 0;
  }
}
