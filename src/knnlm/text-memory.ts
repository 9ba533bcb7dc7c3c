/** What memory holds for a text that grows token by token, and what the mixture makes of it. */
import type { LanguageModel, NextToken } from '../model/language-model.ts';
import { CACHED_STATES, ContinuousCache } from './continuous-cache.ts';
import { mix } from './interpolate.ts';
import { Lane, type Recall, Recaller, type RecallerOptions } from './recall.ts';
import type { RetrievedRow, Retriever } from './retriever.ts';
import { type Votes, votesOf } from './votes.ts';
import { type Recollection, votersOf, Weigher } from './weigh.ts';
import { planWindows, type WindowPlan, windowStart } from './windows.ts';

/** The distributions after a context, and what they come from. Shapes: V vocabulary, n voters. */
export interface Prediction {
  /** (V) log p of the mixture; of a text that goes on, until its next prediction. */
  logProbs: Float32Array;
  /** (V) log p_LM. */
  lm: Float32Array;
  /** log p of the tokens with a vote, among all that voted. */
  votes: Votes;
  /** (n) the neighbors, nearest first, then states of the text so far, whose entry id is -1. */
  voters: RetrievedRow;
  /** (n) shares of the vote, in the order of `voters`. */
  weights: Float64Array;
  /** The model's largest log-probability. */
  best: number;
  /** The index was asked. */
  searched: boolean;
  /** Why the index could not be searched, where the model was to go on alone. */
  failed?: string;
}

export class TextMemory {
  readonly #model: LanguageModel;
  readonly #recaller: Recaller;
  readonly #weigher: Weigher;
  readonly #plan: WindowPlan;
  #cache: ContinuousCache | undefined;
  #lane = new Lane();
  /** (V) what every prediction is mixed in. */
  #mixed: Float32Array | undefined;
  /** Tokens of the text, and where the window of the next one's context begins. */
  #length = 0;
  #windowStart = 0;
  #last: { recall: Recall; recollection: Recollection } | undefined;

  private constructor(
    model: LanguageModel,
    retriever: Retriever,
    options: RecallerOptions & WindowPlan,
  ) {
    this.#model = model;
    this.#recaller = new Recaller(retriever, options);
    this.#weigher = new Weigher(options.settings);
    this.#plan = options;
  }

  /**
   * @param text token ids read so far, BOS left out
   * @param parts.keys (T, d) the states that predicted them, where they are known; otherwise they are read
   * Errors: `ABORTED`.
   */
  static async open(
    text: ArrayLike<number>,
    parts: { model: LanguageModel; retriever: Retriever; keys?: Float32Array | undefined },
    options: RecallerOptions & WindowPlan,
  ): Promise<TextMemory> {
    const memory = new TextMemory(parts.model, parts.retriever, options);
    if (options.settings.cache) {
      memory.#cache = await ContinuousCache.open(parts.model.info.keyDim);
      if (parts.keys) memory.#add(parts.keys, text);
      else await memory.#remember(Int32Array.from(text), options.signal);
    }
    memory.#moveTo(text.length);
    return memory;
  }

  /** Gives back what the text so far took. Nothing must be asked of it any more. */
  close(): void {
    this.#cache?.close();
    this.#cache = undefined;
  }

  /** Share of the predictions for which the index was asked; 0 when there were none. */
  get searched(): number {
    const { searched, all } = this.#recaller.counts;
    return all === 0 ? 0 : searched / all;
  }

  /** One step of the method: recall with the key, mix. @param next the state after the text */
  async predict({ key, logProbs: lm }: NextToken): Promise<Prediction> {
    const best = largestOf(lm);
    this.#mixed ??= new Float32Array(lm.length);
    const recall: Recall = {
      lane: this.#lane,
      query: key,
      best,
      cached: this.#cache?.nearest(key),
    };
    const [recollection] = await this.#recaller.recall([recall]);
    this.#last = { recall, recollection: recollection! };
    const { searched, failed } = recollection!;
    const { lambda, weights } = this.#weigher.weigh(recollection!);
    const voters = votersOf(recollection!);
    const votes = votesOf(voters, weights);
    return {
      logProbs: mix(lm, votes, lambda, this.#mixed),
      lm,
      votes,
      voters,
      weights,
      best,
      searched,
      ...(failed !== undefined && { failed }),
    };
  }

  /** The text goes on with a token, after its prediction. */
  observe(token: number): void {
    const { recall, recollection } = this.#last!;
    // What lives on while the model reads is what the collector has to move.
    this.#last = undefined;
    this.#recaller.observe(recall, recollection, token);
    this.#cache?.add(recall.query, token);
    this.#cache?.forgetBefore(this.#cache.length);
    this.#moveTo(this.#length + 1);
  }

  /** Pointers end where the context is cut anew, as they do when a text is scored. */
  #moveTo(length: number): void {
    this.#length = length;
    const start = windowStart(length, this.#plan);
    if (start !== this.#windowStart) this.#lane = new Lane();
    this.#windowStart = start;
  }

  /** The states that predicted the text's last tokens, by the same windows that any text is read in. */
  async #remember(text: Int32Array, signal: AbortSignal | undefined): Promise<void> {
    if (text.length === 0) return;
    const inputs = new Int32Array(text.length);
    inputs.set(text.subarray(0, text.length - 1), 1);
    inputs[0] = this.#model.tokenizer.bos;
    const windows = [...planWindows(text.length, this.#plan)].filter(
      ({ start, length }) => start + length > text.length - CACHED_STATES,
    );
    const keys = await this.#model.keys(
      windows.map(({ start, length }) => inputs.subarray(start, start + length)),
      { signal },
    );
    const { keyDim } = this.#model.info;
    for (const [w, { start, length, seen }] of windows.entries()) {
      this.#add(keys[w]!.subarray(seen * keyDim), text.subarray(start + seen, start + length));
    }
  }

  /** @param keys (T, d), or more @param tokens (T) that came after them */
  #add(keys: Float32Array, tokens: ArrayLike<number>): void {
    const { keyDim } = this.#model.info;
    for (let i = 0; i < tokens.length; i++)
      this.#cache!.add(keys.subarray(i * keyDim, (i + 1) * keyDim), tokens[i]!);
  }
}

export function largestOf(values: Float32Array): number {
  let largest = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < values.length; i++) if (values[i]! > largest) largest = values[i]!;
  return largest;
}
