/**
 * Reads a growing sequence the way documents were read for the datastore: the context of a position begins where the
 * first window that reaches it begins. While the window has room the attention cache grows by one token; past it,
 * reading starts again from the next window, so a query's context is always one that a stored key could have had.
 */
import type { Decoder, LanguageModel, NextToken } from '../model/language-model.ts';
import { type WindowPlan, windowStart } from './windows.ts';

export class SequenceReader {
  readonly #decoder: Decoder;
  readonly #plan: WindowPlan;
  readonly #inputs: number[] = [];
  #start = 0;
  #next: NextToken | undefined;

  private constructor(decoder: Decoder, plan: WindowPlan) {
    this.#decoder = decoder;
    this.#plan = plan;
  }

  static async open(model: LanguageModel, plan: WindowPlan): Promise<SequenceReader> {
    return new SequenceReader(await model.startDecoding(), plan);
  }

  /** Key and log-probabilities after the last input. */
  get next(): NextToken {
    if (!this.#next) throw new Error('Nothing has been read yet.');
    return this.#next;
  }

  async read(tokens: Iterable<number>): Promise<NextToken> {
    this.#inputs.push(...tokens);
    const start = windowStart(this.#inputs.length - 1, this.#plan);
    if (start !== this.#start) {
      this.#decoder.reset();
      this.#start = start;
    }
    const unread = this.#inputs.slice(start + this.#decoder.position);
    this.#next = await this.#decoder.read(unread);
    return this.#next;
  }

  close(): Promise<void> {
    return this.#decoder.close();
  }
}
