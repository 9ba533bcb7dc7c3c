/**
 * Reads a growing sequence the way documents were read for the datastore: the context of a position begins where the
 * first window that reaches it begins. While the window has room the attention cache grows by one token; past it,
 * reading starts again from the next window, so a query's context is always one that a stored key could have had.
 */
import type {
  Decoder,
  DecodingOptions,
  LanguageModel,
  NextToken,
} from '../model/language-model.ts';
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

  static async open(
    model: LanguageModel,
    plan: WindowPlan,
    options: DecodingOptions = {},
  ): Promise<SequenceReader> {
    return new SequenceReader(await model.startDecoding(undefined, options), plan);
  }

  /** Key and log-probabilities after the last input. */
  get next(): NextToken {
    if (!this.#next) throw new Error('Nothing has been read yet.');
    return this.#next;
  }

  async read(tokens: Iterable<number>): Promise<NextToken> {
    this.#next = await this.#decoder.read(this.#take(tokens));
    return this.#next;
  }

  /**
   * As `read`, at the beginning of a text.
   * @returns (T, d) the keys after each token; undefined when they are of more than one window
   */
  async readBeginning(tokens: Iterable<number>): Promise<Float32Array | undefined> {
    const unread = this.#take(tokens);
    if (this.#start > 0) {
      this.#next = await this.#decoder.read(unread);
      return undefined;
    }
    const { keys, logProbs } = await this.#decoder.readKeys(unread);
    const dim = keys.length / unread.length;
    this.#next = { key: keys.slice(keys.length - dim), logProbs };
    return keys;
  }

  /** What the decoder has to read for the state after the last of the tokens. */
  #take(tokens: Iterable<number>): number[] {
    this.#inputs.push(...tokens);
    const start = windowStart(this.#inputs.length - 1, this.#plan);
    if (start !== this.#start) {
      this.#decoder.reset();
      this.#start = start;
    }
    return this.#inputs.slice(start + this.#decoder.position);
  }

  close(): Promise<void> {
    return this.#decoder.close();
  }
}
