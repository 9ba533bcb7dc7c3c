/** Asks open datastores and their model: search, evaluate, generate, tune. The command line and the server hold no method of their own. */
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import { citeEntries, type EntryHit } from './cite.ts';
import { evaluate } from './evaluate.ts';
import { evaluateTranslations, type TranslationEvaluation } from './evaluate-translations.ts';
import { candidatesOf, generate, promptTokens } from './generate.ts';
import type {
  EvaluateTranslationsRequest,
  GeneratedToken,
  GenerateRequest,
  Generation,
  TranslateRequest,
  Translation,
} from './generation-types.ts';
import { type Inspection, inspect } from './inspect.ts';
import { keepSettings } from './milvus/publish-store.ts';
import { OpenMemory } from './open-memory.ts';
import type { OpenStore } from './open-stores.ts';
import { SequenceReader } from './reader.ts';
import { excludedEntries, pickedStores, resolveSettings } from './resolve-settings.ts';
import { type ScoreTokensOptions, scoreTokens } from './score-tokens.ts';
import { TextMemory } from './text-memory.ts';
import { translate } from './translate.ts';
import { type TuneRequest, type Tuning, tune } from './tune.ts';
import type {
  EvaluateRequest,
  Evaluation,
  InspectRequest,
  Neighbor,
  ResolvedSettings,
  RetrievalRequest,
  ScoreTokensRequest,
  SearchRequest,
  SearchResult,
  TokenScore,
} from './types.ts';
import { usedSettings } from './used-settings.ts';
import type { WindowPlan } from './windows.ts';

const CANDIDATES_SHOWN = 10;

export class KnnLM extends OpenMemory {
  /** The settings a request will run with: its own, then those of the first store it reads, then the paper's. */
  settings(request: RetrievalRequest = {}): ResolvedSettings {
    return resolveSettings(this.current, request);
  }

  /** What is near a context, and what the mixture makes of it. Errors: `INVALID_ARGUMENT`, `ABORTED`. */
  async search(context: string, request: SearchRequest = {}): Promise<SearchResult> {
    this.#requireTexts();
    const settings = this.settings(request);
    const show = Math.min(
      positive('The number of neighbors shown', request.show ?? 10),
      settings.k * (settings.lambdas?.length ?? 1),
    );
    const { signal } = request;
    const exclude = this.#excluded(request, request.excludeDocuments);
    const open = this.current.hold();
    let reader: SequenceReader | undefined;
    try {
      const [ids] = await this.model.encodeDocuments([context]);
      reader = await SequenceReader.open(this.model, this.#plan);
      const next = await reader.read([this.model.tokenizer.bos, ...ids!]);
      const parts = { model: this.model, retriever: open.retriever };
      const memory = await TextMemory.open(ids!, parts, {
        ...this.#plan,
        // Neighbors are what is asked for: without them there is no answer.
        settings: { ...settings, onIndexFailure: undefined, skip: undefined },
        exclude,
        signal,
        alwaysSearch: true,
      });
      const { voters, weights, logProbs, lm, votes } = await memory.predict(next);
      const hits = Array.from({ length: Math.min(show, voters.values.length) }, (_, i) => ({
        entry: voters.ids[i]!,
        distance: voters.distances[i]!,
        weight: weights[i]!,
      })).filter(({ entry }) => entry >= 0);
      return {
        query: context,
        neighbors: await citeEntries(hits, {
          datastore: open.retriever.datastore,
          tokenizer: this.model.tokenizer,
          around: request.around ?? 16,
        }),
        candidates: candidatesOf({ logProbs, lm, votes }, CANDIDATES_SHOWN, this.model.tokenizer),
        settings: usedSettings(settings),
      };
    } finally {
      await reader?.close();
      await open.release();
    }
  }

  /** The next token after a context, with all that was retrieved. Errors: `INVALID_ARGUMENT`, `ABORTED`. */
  async inspect(
    context: string | readonly number[],
    { excludeDocuments, ...request }: InspectRequest = {},
  ): Promise<Inspection> {
    this.#requireTexts();
    const settings = this.settings(request);
    const exclude = this.#excluded(request, excludeDocuments);
    const open = this.current.hold();
    try {
      const options = { ...this.#plan, ...request, settings, exclude };
      return await inspect(context, this.model, open.retriever, options);
    } finally {
      await open.release();
    }
  }

  /**
   * A text token by token under model and mixture, as `evaluate` scores a document. Settings are checked at once.
   * @param text or token ids without BOS
   * @returns pieces, in order. Errors: `INVALID_ARGUMENT`, `ABORTED`.
   */
  scoreTokens(
    text: string | readonly number[],
    { excludeDocuments, end = typeof text === 'string', ...request }: ScoreTokensRequest = {},
  ): AsyncGenerator<TokenScore[]> {
    this.#requireTexts();
    const settings = this.settings(request);
    const exclude = this.#excluded(request, excludeDocuments);
    return this.#scoreTokens(text, end, { ...this.#plan, ...request, settings, exclude });
  }

  async *#scoreTokens(
    text: string | readonly number[],
    end: boolean,
    options: ScoreTokensOptions,
  ): AsyncGenerator<TokenScore[]> {
    const { tokenizer } = this.model;
    const open = this.current.hold();
    try {
      const ids = await promptTokens(text, this.model);
      const targets = Int32Array.from(end ? [...ids, tokenizer.eos] : ids);
      if (targets.length > 0) yield* scoreTokens(targets, this.model, open.retriever, options);
    } finally {
      await open.release();
    }
  }

  /** The model's state after a context, which is what is searched with. @returns (d). Errors: `INVALID_ARGUMENT`. */
  async query(context: string | readonly number[]): Promise<Float32Array> {
    this.#requireTexts();
    const ids = await promptTokens(context, this.model);
    const reader = await SequenceReader.open(this.model, this.#plan);
    try {
      return (await reader.read([this.model.tokenizer.bos, ...ids])).key;
    } finally {
      await reader.close();
    }
  }

  /** Gives the datastores in the state they are in now; they stay open, and so, until `use` has ended. */
  async withStores<Result>(
    use: (stores: readonly OpenStore[]) => Promise<Result>,
  ): Promise<Result> {
    const open = this.current.hold();
    try {
      return await use(open.stores);
    } finally {
      await open.release();
    }
  }

  /** Stored contexts with their text. @param around tokens on each side. Errors: `INVALID_ARGUMENT` for an id that is not stored. */
  async cite(hits: readonly EntryHit[], around = 16): Promise<Neighbor[]> {
    const open = this.current.hold();
    try {
      const { datastore } = open.retriever;
      return await citeEntries(hits, { datastore, tokenizer: this.model.tokenizer, around });
    } finally {
      await open.release();
    }
  }

  /** Perplexity of the model alone and of the mixture over whole documents. */
  evaluate(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    request: EvaluateRequest = {},
  ): Promise<Evaluation> {
    const { maxTokens, breakdown, onTokens, onProgress, signal } = request;
    const options = {
      ...this.#plan,
      settings: this.settings(request),
      exclude: this.#excluded(request, request.excludeDocuments),
      ...{ maxTokens, breakdown, onTokens, onProgress, signal },
    };
    const open = this.current.hold();
    return evaluate(documents, this.model, open.retriever, options).finally(() => open.release());
  }

  /**
   * Finds k, λ, T and a gate on held-out text, and stores them with the evidence. Of several stores together they are
   * only told: they are nobody's own.
   * Errors: `NO_DOCUMENTS` when there is no text, `INVALID_ARGUMENT`, `ABORTED`, `STORE_LOCKED`.
   */
  async tune(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    { excludeDocuments, stores, save, ...request }: TuneRequest = {},
  ): Promise<Tuning> {
    const picked = pickedStores(this.current, { stores });
    const [{ datastore }] = picked as [OpenStore];
    if (save && picked.length > 1) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Settings of ${picked.length} stores together cannot be kept in one of them. Tune without saving, and give what was found with each request.`,
      );
    }
    const exclude = this.#excluded({ stores }, excludeDocuments);
    const mirror = this.mirrorOf(datastore);
    if (save && mirror) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Settings cannot be kept in ${mirror.url}, which was opened by its address. Tune where the folder of ${mirror.name} lies, or without saving (--no-save).`,
      );
    }
    const keep = save ?? (picked.length === 1 && !mirror);
    const open = this.current.hold();
    const { retriever } = open;
    // Of one store among several, what it holds itself is compared with the text.
    const read = picked.length === 1 ? datastore : retriever.datastore;
    const parts = { datastore: read, retriever, model: this.model };
    const unheard: string[] = [];
    const onWarning = (message: string): void => void unheard.push(message);
    try {
      const tuning = await tune(documents, parts, {
        ...request,
        exclude,
        ...(keep && { save: (settings) => keepSettings(datastore, settings, onWarning) }),
      });
      for (const message of unheard) tuning.warnings.push({ code: 'unpublished', message });
      return tuning;
    } finally {
      await open.release();
    }
  }

  /** Yields tokens as they are chosen and returns the whole text at the end. */
  generate(
    prompt: string | readonly number[],
    { knn, excludeDocuments, ...request }: GenerateRequest = {},
  ): AsyncGenerator<GeneratedToken, Generation> {
    this.#requireTexts();
    // What is wrong with the request is said at once, not with the first token.
    this.settings(knn);
    this.#excluded(knn, excludeDocuments);
    return this.#generate(prompt, { knn, excludeDocuments, ...request });
  }

  async *#generate(
    prompt: string | readonly number[],
    { knn, excludeDocuments, ...request }: GenerateRequest,
  ): AsyncGenerator<GeneratedToken, Generation> {
    const options = {
      ...request,
      ...this.#plan,
      settings: this.settings(knn),
      exclude: this.#excluded(knn, excludeDocuments),
    };
    const open = this.current.hold();
    try {
      return yield* generate(prompt, this.model, open.retriever, options);
    } finally {
      await open.release();
    }
  }

  /**
   * Translates a text with a model that reads pairs: each token with the stored targets that voted for it, and their sources.
   * Errors: `INVALID_ARGUMENT` for a store of texts, `INVALID_DOCUMENT` for a text that is too long for the model, `ABORTED`.
   */
  async translate(
    source: string,
    { knn, excludeDocuments, ...request }: TranslateRequest = {},
  ): Promise<Translation> {
    if (!this.model.info.pairs) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `${this.datastore.path} holds texts, not pairs of a source and its target, so there is nothing to translate with. Continue a text with it: knnlm generate`,
      );
    }
    const options = {
      ...request,
      ...this.#plan,
      settings: this.settings(knn),
      exclude: this.#excluded(knn, excludeDocuments),
    };
    const open = this.current.hold();
    try {
      return await translate(source, this.model, open.retriever, options);
    } finally {
      await open.release();
    }
  }

  /** Translates the sources of pairs, with the memory and without it, and compares with their targets. Errors: as `translate`. */
  async evaluateTranslations(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    { onProgress, ...request }: EvaluateTranslationsRequest = {},
  ): Promise<TranslationEvaluation> {
    const { knn, signal } = request;
    return await evaluateTranslations(documents, {
      translate: (source, by) =>
        this.translate(source, {
          ...request,
          knn: by === 'lm' ? { stores: knn?.stores, lambda: 0 } : knn,
          neighbors: 0,
        }),
      onProgress,
      signal,
    });
  }

  get #plan(): WindowPlan {
    const { window, stride } = this.datastore.header;
    return { window, stride };
  }

  #excluded(request: RetrievalRequest = {}, documents?: readonly string[]): IdRange[] {
    return excludedEntries(this.current, request, documents);
  }

  /** Errors: `INVALID_ARGUMENT` when the model reads pairs: a text alone is nothing to it. */
  #requireTexts(): void {
    if (!this.model.info.pairs) return;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${this.datastore.path} holds pairs of a source and its target, whose model continues no text. Translate with it: knnlm translate`,
    );
  }
}

function positive(what: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${what} must be a whole number of at least 1, not ${value}.`,
  );
}
