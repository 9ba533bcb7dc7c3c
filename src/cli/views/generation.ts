/**
 * A generated text as a person likes to read it: streamed, each token in the color of what the memory did to it, with
 * footnotes where the memory decided and the sources below.
 */
import type { GeneratedToken, Generation, Translation } from '../../knnlm/generation-types.ts';
import { type Footnote, Footnotes, superscript } from '../footnotes.ts';
import { count, counted, duration, settingsText } from '../numbers.ts';
import { legend, memoryBits, type Paint, paintFor } from '../palette.ts';
import type { Colors } from '../screen.ts';
import { oneLine, sanitize, truncate } from '../text.ts';
import { WordWrapper } from '../word-wrapper.ts';
import { bracket, cutPassage, place } from './search.ts';

const MOST_COLUMNS = 88;
/** Lines of text shown of a source. */
const PASSAGE_LINES = 3;
/** Sources shown with their text. */
const MOST_SOURCES = 5;

/** A generation, or a translation. */
type Ended = Generation | Translation;

export interface GenerationPrinterOptions {
  write: (text: string) => void;
  colors: Colors;
  /** Bits of color. */
  depth: number;
  /** Columns of the terminal; Infinity (no terminal) leaves lines whole. */
  columns: number;
  /** Footnotes in the text and the sources below it. */
  sources: boolean;
}

export class GenerationPrinter {
  readonly #options: GenerationPrinterOptions;
  readonly #wrapper: WordWrapper;
  readonly #footnotes = new Footnotes();
  /** Of the span being written. */
  #open: Footnote | undefined;
  /** Numbers of spans that ended inside the word being written. */
  #pending: number[] = [];

  constructor(options: GenerationPrinterOptions) {
    this.#options = options;
    this.#wrapper = Number.isFinite(options.columns)
      ? new WordWrapper({
          write: options.write,
          columns: columnsOf(options.columns),
          margin: '  ',
        })
      : new WordWrapper({ write: options.write, columns: Number.POSITIVE_INFINITY });
  }

  prompt(text: string): void {
    this.#wrapper.push(sanitize(text), this.#options.colors.dim);
  }

  token(token: GeneratedToken): void {
    const { sources, depth } = this.#options;
    const text = sanitize(token.text);
    if (sources) {
      const footnote = this.#footnotes.add(token);
      if (this.#open && this.#open !== footnote) this.#pending.push(this.#open.number);
      this.#open = footnote;
      // A mark goes behind the word, not into it.
      if (/^\s/.test(text)) this.#mark();
    }
    this.#wrapper.push(text, paintFor(memoryBits(token), depth));
  }

  /** Ends the text and lists the sources. */
  end(generation: Ended, seconds: number): void {
    if (this.#open) this.#pending.push(this.#open.number);
    this.#mark();
    const { finishReason } = generation;
    if (Number.isFinite(this.#options.columns) && finishReason === 'length')
      this.#wrapper.push('…', this.#options.colors.dim);
    this.#wrapper.end();
    if (!this.#options.sources) return;
    this.#options.write('\n');
    this.#sources();
    const { depth, colors } = this.#options;
    const key = legend(depth);
    if (key) this.#options.write(`  ${key}\n`);
    this.#options.write(`  ${colors.dim(generationFacts(generation, seconds))}\n`);
  }

  #mark(): void {
    if (this.#pending.length === 0) return;
    const numbers = [...new Set(this.#pending)].map(superscript);
    this.#wrapper.push(numbers.join(','), this.#options.colors.cyan);
    this.#pending = [];
  }

  /** Those that most of the text comes from, in order of number; the others in one line. */
  #sources(): void {
    const all = this.#footnotes.list;
    const shown = new Set([...all].sort((a, b) => b.tokens - a.tokens).slice(0, MOST_SOURCES));
    for (const footnote of all) if (shown.has(footnote)) this.#source(footnote);
    const others = all.filter((footnote) => !shown.has(footnote));
    if (others.length === 0) return;
    const { colors, columns, write } = this.#options;
    const wrapper = new WordWrapper({ write, columns: columnsOf(columns), margin: '  ' });
    for (const footnote of others) {
      wrapper.push(`${superscript(footnote.number)} `, colors.cyan);
      wrapper.push(`${place(footnote)}  `, colors.dim);
    }
    wrapper.end();
    write('\n');
  }

  #source(footnote: Footnote): void {
    const { number, passage, tokens } = footnote;
    const { colors, write, columns } = this.#options;
    const room = columnsOf(columns) - 2;
    const where = colors.dim(`at ${count(passage.position)} · ${counted(tokens, 'token')}`);
    write(`  ${colors.cyan(superscript(number))} ${colors.bold(place(footnote))} ${where}\n`);
    if (passage.sourceText !== undefined) {
      const text = truncate(oneLine(passage.sourceText), room * PASSAGE_LINES - 8);
      const wrapper = new WordWrapper({ write, columns: room, margin: '    ' });
      wrapper.push(text, colors.italic);
      wrapper.end();
    }
    const { before, target, after } = cutPassage(passage, room * PASSAGE_LINES - 8);
    const wrapper = new WordWrapper({ write, columns: room, margin: '    ' });
    const emphasis: Paint = (text) => colors.bold(colors.yellow(text));
    wrapper.push(before, colors.dim);
    // Without colors the words that were followed are marked by brackets.
    wrapper.push(colors.isColorSupported ? target : bracket(target), emphasis);
    wrapper.push(after, colors.dim);
    wrapper.end();
    write('\n');
  }
}

/** Columns of text between the margins. */
function columnsOf(terminal: number): number {
  return Math.max(20, Math.min(terminal - 4, MOST_COLUMNS));
}

function generationFacts({ tokens, settings }: Ended, seconds: number): string {
  const raised = tokens.filter((token) => token.p > token.pLm).length;
  const decided = tokens.filter((token) => memoryBits(token) >= 1).length;
  return [
    `${counted(tokens.length, 'token')}: ${count(raised)} more probable through the memory, ${count(decided)} at least twice`,
    settingsText(settings),
    duration(seconds),
  ].join(' · ');
}
