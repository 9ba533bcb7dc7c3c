/** An open datastore with its model: search, evaluate, generate, add, remove. The command line and the server hold no method of their own. */
import {
  type Compaction,
  type CompactOptions,
  compactDatastore,
} from '../datastore/compact-datastore.ts';
import type { Datastore } from '../datastore/datastore.ts';
import { type Removal, removeDocuments } from '../datastore/remove-documents.ts';
import type { DocumentSelection } from '../datastore/select-documents.ts';
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { addEntries, asRead } from './add.ts';
import { citeEntries } from './cite.ts';
import { evaluate } from './evaluate.ts';
import { usedSettings } from './gate.ts';
import { generate, predict } from './generate.ts';
import { checkSettings, DEFAULT_SETTINGS } from './interpolate.ts';
import { SequenceReader } from './reader.ts';
import { mergeRanges, type Retriever } from './retriever.ts';
import { largest } from './sampler.ts';
import type { OpenStoreIndex, Snapshot } from './snapshot.ts';
import type { StoreInfo } from './store-info.ts';
import { type TuneRequest, type Tuning, tune } from './tune.ts';
import type {
  AddOptions,
  AddResult,
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
  readonly model: LanguageModel;
  readonly #openIndex: OpenStoreIndex;
  /** What a request that begins now reads. */
  #snapshot: Snapshot;
  #refreshing: Promise<unknown> = Promise.resolve();

  constructor(parts: { snapshot: Snapshot; model: LanguageModel; openIndex: OpenStoreIndex }) {
    this.#snapshot = parts.snapshot;
    this.model = parts.model;
    this.#openIndex = parts.openIndex;
  }

  get info(): StoreInfo {
    return this.#snapshot.info;
  }

  get datastore(): Datastore {
    return this.#snapshot.datastore;
  }

  get retriever(): Retriever {
    return this.#snapshot.retriever;
  }

  /**
   * Takes up what has been added, removed, tuned or compacted since, by this process or another, without loading the
   * model again. Requests under way end on the state they began with.
   * @returns whether anything had changed
   */
  async refresh(): Promise<boolean> {
    const turn = this.#refreshing.then(async () => {
      const before = this.#snapshot;
      this.#snapshot = await before.refresh(this.#openIndex);
      if (this.#snapshot === before) return false;
      await before.release();
      return true;
    });
    this.#refreshing = turn.catch(() => undefined);
    return await turn;
  }

  /** Adds documents and takes them up. Errors: as `addDocuments`. */
  async add(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    options: AddOptions = {},
  ): Promise<AddResult> {
    const result = await addEntries(asRead(documents), this.model, this.datastore.path, options);
    await this.refresh();
    return result;
  }

  /** Removes documents; the next request retrieves nothing of them. Errors: as `removeDocuments`. */
  async remove(selection: DocumentSelection): Promise<Removal> {
    const removal = await removeDocuments(this.datastore.path, selection);
    await this.refresh();
    return removal;
  }

  /** Rewrites the datastore without what was removed, and takes it up. Errors: as `compactDatastore`. */
  async compact(options: CompactOptions = {}): Promise<Compaction> {
    const result = await compactDatastore(this.datastore.path, options);
    await this.refresh();
    return result;
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
    const { signal } = request;
    const exclude = this.#excluded(request.excludeDocuments);
    const snapshot = this.#snapshot.hold();
    let reader: SequenceReader | undefined;
    try {
      const [ids] = await this.model.encodeDocuments([context]);
      reader = await SequenceReader.open(this.model, this.#plan);
      const next = await reader.read([this.model.tokenizer.bos, ...ids!]);
      const prediction = await predict(next, snapshot.retriever, {
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
          datastore: snapshot.datastore,
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
      await reader?.close();
      await snapshot.release();
    }
  }

  /** Perplexity of the model alone and of the mixture over whole documents. */
  evaluate(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    request: EvaluateRequest = {},
  ): Promise<Evaluation> {
    const options = {
      ...this.#plan,
      settings: this.settings(request),
      exclude: this.#excluded(request.excludeDocuments),
      maxTokens: request.maxTokens,
      onProgress: request.onProgress,
      signal: request.signal,
    };
    const snapshot = this.#snapshot.hold();
    return evaluate(documents, this.model, snapshot.retriever, options).finally(() =>
      snapshot.release(),
    );
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
    // What is wrong with the request is said at once, not with the first token.
    this.settings(knn);
    this.#excluded(excludeDocuments);
    return this.#generate(prompt, { knn, excludeDocuments, ...request });
  }

  async *#generate(
    prompt: string,
    { knn, excludeDocuments, ...request }: GenerateRequest,
  ): AsyncGenerator<GeneratedToken, Generation> {
    const options = {
      ...request,
      ...this.#plan,
      settings: this.settings(knn),
      exclude: this.#excluded(excludeDocuments),
    };
    const snapshot = this.#snapshot.hold();
    try {
      return yield* generate(prompt, this.model, snapshot.retriever, options);
    } finally {
      await snapshot.release();
    }
  }

  async close(): Promise<void> {
    await this.#refreshing;
    await Promise.all([this.#snapshot.release(), this.model.close()]);
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
