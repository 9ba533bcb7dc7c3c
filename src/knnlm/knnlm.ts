/** An open datastore with its model: search, evaluate, generate. The command line and the server hold no method of their own. */
import type { Datastore } from '../datastore/datastore.ts';
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { citeEntries } from './cite.ts';
import { evaluate } from './evaluate.ts';
import { usedSettings } from './gate.ts';
import { generate, predict } from './generate.ts';
import { checkSettings, DEFAULT_SETTINGS } from './interpolate.ts';
import { SequenceReader } from './reader.ts';
import { mergeRanges, type Retriever } from './retriever.ts';
import { largest } from './sampler.ts';
import type { StoreInfo } from './store-info.ts';
import { type TuneRequest, type Tuning, tune } from './tune.ts';
import type {
  EvaluateRequest,
  Evaluation,
  GeneratedToken,
  GenerateRequest,
  Generation,
  ResolvedSettings,
  RetrievalRequest,
  SearchRequest,
  SearchResult,
} from './types.ts';
import type { WindowPlan } from './windows.ts';

const CANDIDATES_SHOWN = 10;

export class KnnLM {
  readonly info: StoreInfo;
  readonly datastore: Datastore;
  readonly model: LanguageModel;
  readonly retriever: Retriever;

  constructor(parts: {
    info: StoreInfo;
    datastore: Datastore;
    model: LanguageModel;
    retriever: Retriever;
  }) {
    this.info = parts.info;
    this.datastore = parts.datastore;
    this.model = parts.model;
    this.retriever = parts.retriever;
  }

  /** The settings a request will run with: its own, then the store's, then the paper's. */
  settings(request: RetrievalRequest = {}): ResolvedSettings {
    const base: ResolvedSettings = this.datastore.settings ?? DEFAULT_SETTINGS;
    const { k = base.k, lambda = base.lambda, temperature = base.temperature } = request;
    checkSettings({ k, lambda, temperature });
    const own = k === base.k && lambda === base.lambda && temperature === base.temperature;
    const given = [request.k, request.lambda, request.temperature].some((x) => x !== undefined);
    if (request.gate && !(base.gate && own)) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        base.gate
          ? 'The gate was made for the settings of the store: leave out k, lambda and temperature.'
          : 'The datastore has no gate. Make one on held-out text: knnlm tune STORE TEXT...',
      );
    }
    const gated = base.gate && (request.gate ?? !given);
    return { k, lambda, temperature, ...(gated && { gate: base.gate }) };
  }

  /** What is near a context, and what the mixture makes of it. Errors: `INVALID_ARGUMENT`, `ABORTED`. */
  async search(context: string, request: SearchRequest = {}): Promise<SearchResult> {
    const settings = this.settings(request);
    const show = Math.min(
      positive('The number of neighbors shown', request.show ?? 10),
      settings.k,
    );
    const [ids] = await this.model.encodeDocuments([context]);
    const reader = await SequenceReader.open(this.model, this.#plan);
    try {
      const next = await reader.read([this.model.tokenizer.bos, ...ids!]);
      const { signal } = request;
      const exclude = this.#excluded(request.excludeDocuments);
      const prediction = await predict(next, this.retriever, {
        settings,
        exclude,
        signal,
        alwaysSearch: true,
      });
      const { retrieved, weights, logProbs, lm, votes } = prediction;
      const hits = Array.from(retrieved!.ids.subarray(0, show), (entry, i) => ({
        entry,
        distance: retrieved!.distances[i]!,
        weight: weights[i]!,
      })).filter(({ entry }) => entry >= 0);
      return {
        query: context,
        neighbors: await citeEntries(hits, {
          datastore: this.datastore,
          tokenizer: this.model.tokenizer,
          around: request.around ?? 16,
        }),
        candidates: largest(logProbs, CANDIDATES_SHOWN).map((id) => ({
          id,
          text: this.model.tokenizer.tokenText(id),
          p: Math.exp(logProbs[id]!),
          pLm: Math.exp(lm[id]!),
          pKnn: Math.exp(votes.get(id) ?? Number.NEGATIVE_INFINITY),
        })),
        settings: usedSettings(settings),
      };
    } finally {
      await reader.close();
    }
  }

  /** Perplexity of the model alone and of the mixture over whole documents. */
  evaluate(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    request: EvaluateRequest = {},
  ): Promise<Evaluation> {
    return evaluate(documents, this.model, this.retriever, {
      ...this.#plan,
      settings: this.settings(request),
      exclude: this.#excluded(request.excludeDocuments),
      maxTokens: request.maxTokens,
      onProgress: request.onProgress,
      signal: request.signal,
    });
  }

  /**
   * Finds k, λ, T and a gate on held-out text, and stores them with the evidence.
   * Errors: `NO_DOCUMENTS` when there is no text, `INVALID_ARGUMENT`, `ABORTED`, `STORE_LOCKED`.
   */
  tune(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    { excludeDocuments, ...request }: TuneRequest = {},
  ): Promise<Tuning> {
    return tune(documents, this, { ...request, exclude: this.#excluded(excludeDocuments) });
  }

  /** Yields tokens as they are chosen and returns the whole text at the end. */
  generate(
    prompt: string,
    { knn, excludeDocuments, ...request }: GenerateRequest = {},
  ): AsyncGenerator<GeneratedToken, Generation> {
    return generate(prompt, this.model, this.retriever, {
      ...request,
      ...this.#plan,
      settings: this.settings(knn),
      exclude: this.#excluded(excludeDocuments),
    });
  }

  async close(): Promise<void> {
    await Promise.all([this.retriever.index.close(), this.model.close(), this.datastore.close()]);
  }

  get #plan(): WindowPlan {
    const { window, stride } = this.datastore.header;
    return { window, stride };
  }

  #excluded(documents: readonly string[] = []): IdRange[] {
    return mergeRanges(
      documents.map((id) => {
        const document = this.datastore.documents.find(id);
        if (!document) {
          throw new KnnLMError(
            'INVALID_ARGUMENT',
            `The datastore holds no document ${JSON.stringify(id)}.`,
          );
        }
        return [document.start, document.start + document.length];
      }),
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
