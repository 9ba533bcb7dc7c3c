/**
 * A text token by token under model and mixture, as evaluation scores a document, with what evaluation need not know: the
 * neighbors that voted and, when asked for, the most probable candidates at every position.
 */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Decoder, LanguageModel } from '../model/language-model.ts';
import { citeEntries } from './cite.ts';
import { ContinuousCache } from './continuous-cache.ts';
import { candidatesOf, supporters } from './generate.ts';
import { interpolate, mix } from './interpolate.ts';
import { readLanes, type TextLane } from './read-lanes.ts';
import { Lane, Recaller } from './recall.ts';
import { interpolateAs } from './reference-semantics.ts';
import type { Retriever } from './retriever.ts';
import { Trust } from './trust.ts';
import type { ResolvedSettings, TokenNeighbor, TokenScore } from './types.ts';
import { votesOf } from './votes.ts';
import { type Recollection, votedFor, votersOf, Weigher } from './weigh.ts';
import { planWindows, type Window, type WindowPlan } from './windows.ts';

export interface ScoreTokensOptions extends WindowPlan {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
  /** Neighbors told per token. Default 0. */
  neighbors?: number;
  /** Tokens of text told around each. Default: no text is. */
  around?: number;
  /** Candidates told per token. Default 0; any cost the whole distribution at every position. */
  candidates?: number;
  signal?: AbortSignal;
}

/** Positions told at once. */
const QUERIES_AT_ONCE = 256;
/** Bytes of log-probabilities brought over from the model at once. */
const STATES_BYTES = 2 ** 24;

/** The states of some positions. Shapes: T positions, d key width, V vocabulary. */
interface States {
  /** (T, d) */
  keys: Float32Array;
  /** (T) log p_LM of the target. */
  lm: Float32Array;
  /** (T) of the most probable token. */
  best: Float32Array;
  /** (T, V), when candidates are wanted. */
  logProbs?: Float32Array;
}

/**
 * @param targets (n) token ids after BOS
 * @returns pieces of the n scores, in order. Errors: `ABORTED`, `INVALID_ARGUMENT`.
 */
export async function* scoreTokens(
  targets: Int32Array,
  model: LanguageModel,
  retriever: Retriever,
  options: ScoreTokensOptions,
): AsyncGenerator<TokenScore[]> {
  const scorer = new TokenScorer(model, retriever, options);
  if (options.settings.cache) scorer.cache = await ContinuousCache.open(model.info.keyDim);
  const inputs = new Int32Array(targets.length);
  inputs.set(targets.subarray(0, Math.max(0, targets.length - 1)), 1);
  inputs[0] = model.tokenizer.bos;
  const decoder = options.candidates ? await model.startDecoding() : undefined;
  try {
    for (const window of planWindows(targets.length, options)) {
      const own = {
        inputs: inputs.subarray(window.start, window.start + window.length),
        targets: targets.subarray(window.start, window.start + window.length),
      };
      const states = decoder
        ? readDistributions(own, window, model, decoder)
        : readScores(own, window, model, options.signal);
      const lane = new Lane();
      for await (const { first, ...part } of states) {
        if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The scoring was stopped.');
        const [start, end] = [first, first + part.lm.length];
        yield await scorer.score(own.targets.subarray(start, end), part, {
          lane,
          start: window.start + first,
        });
      }
    }
  } finally {
    await decoder?.close();
  }
}

interface WindowTokens {
  inputs: Int32Array;
  targets: Int32Array;
}

async function* readScores(
  { inputs, targets }: WindowTokens,
  { seen, length }: Window,
  model: LanguageModel,
  signal: AbortSignal | undefined,
): AsyncGenerator<States & { first: number }> {
  const [scored] = await model.score([inputs], [targets], { signal });
  const d = model.info.keyDim;
  for (let first = seen; first < length; first += QUERIES_AT_ONCE) {
    const end = Math.min(length, first + QUERIES_AT_ONCE);
    const { keys, logProbs, best } = scored!;
    yield {
      first,
      keys: keys.slice(first * d, end * d),
      lm: logProbs.slice(first, end),
      best: best.slice(first, end),
    };
  }
}

async function* readDistributions(
  { inputs, targets }: WindowTokens,
  { seen, length }: Window,
  model: LanguageModel,
  decoder: Decoder,
): AsyncGenerator<States & { first: number }> {
  const { vocabSize } = model.info;
  const most = Math.max(1, Math.min(QUERIES_AT_ONCE, Math.floor(STATES_BYTES / 4 / vocabSize)));
  decoder.reset();
  if (seen > 0) await decoder.read(inputs.subarray(0, seen));
  for (let first = seen; first < length; first += most) {
    const end = Math.min(length, first + most);
    const { keys, logProbs } = await decoder.readAll(inputs.subarray(first, end));
    const width = logProbs.length / (end - first);
    const lm = Float32Array.from(
      targets.subarray(first, end),
      (id, i) => logProbs[i * width + id]!,
    );
    const best = Float32Array.from(lm, (_, i) =>
      logProbs.subarray(i * width, (i + 1) * width).reduce((a, b) => Math.max(a, b)),
    );
    yield { first, keys, lm, best, logProbs };
  }
}

/** Mixes one target after another; a gate's trust in the store follows the text. */
class TokenScorer {
  readonly #model: LanguageModel;
  readonly #retriever: Retriever;
  readonly #options: ScoreTokensOptions;
  readonly #recaller: Recaller;
  readonly #weigher: Weigher;
  readonly #trust = new Trust();
  /** The text so far, where it is remembered. */
  cache: ContinuousCache | undefined;

  constructor(model: LanguageModel, retriever: Retriever, options: ScoreTokensOptions) {
    this.#model = model;
    this.#retriever = retriever;
    this.#options = options;
    const alwaysSearch = (options.neighbors ?? 0) > 0;
    this.#recaller = new Recaller(retriever, { ...options, alwaysSearch });
    this.#weigher = new Weigher(options.settings);
  }

  async score(
    targets: Int32Array,
    states: States,
    place: { lane: Lane; start: number },
  ): Promise<TokenScore[]> {
    const d = states.keys.length / targets.length;
    for (let i = 0; this.cache && i < targets.length; i++)
      this.cache.add(states.keys.subarray(i * d, (i + 1) * d), targets[i]!);
    const lane: TextLane = {
      ...place,
      targets,
      best: states.best,
      queries: states.keys,
      cache: this.cache,
    };
    const { signal } = this.#options;
    const scored: TokenScore[] = [];
    for await (const steps of readLanes([lane], this.#recaller, { signal, what: 'scoring' })) {
      for (const { at, recollection } of steps) {
        const all = this.#distribution(states, at, targets.length);
        scored.push(await this.#mix(targets[at]!, states.lm[at]!, recollection, all));
      }
    }
    this.cache?.forgetBefore(this.cache.length);
    return scored;
  }

  #distribution({ logProbs }: States, i: number, rows: number): Float32Array | undefined {
    if (!logProbs) return undefined;
    const width = logProbs.length / rows;
    return logProbs.subarray(i * width, (i + 1) * width);
  }

  async #mix(
    id: number,
    lm: number,
    recollection: Recollection,
    all?: Float32Array,
  ): Promise<TokenScore> {
    const { lambda, weights } = this.#weigher.weigh(recollection);
    const logPKnn = Math.log(votedFor(id, recollection, weights));
    const { neighbors = 0, settings } = this.#options;
    const trusted = settings.gate ? lambda * this.#trust.share : lambda;
    const { semantics = 'exact' } = settings;
    const logP = interpolateAs(semantics, { lm, knn: logPKnn, lambda: trusted });
    if (settings.gate && lambda > 0) this.#trust.next(interpolate(lm, logPKnn, lambda), lm);
    return {
      id,
      logP,
      logPLm: lm,
      logPKnn,
      ...(all && { candidates: this.#candidates(recollection, { all, weights, trusted }) }),
      neighbors: neighbors > 0 ? await this.#cite(id, recollection, weights, neighbors) : [],
      ...(!recollection.searched && this.#recaller.needsIndex && { searched: false as const }),
    };
  }

  /** @param all (V) log p_LM */
  #candidates(
    recollection: Recollection,
    { all, weights, trusted }: { all: Float32Array; weights: Float64Array; trusted: number },
  ) {
    const votes = votesOf(votersOf(recollection), weights);
    const { candidates = 0 } = this.#options;
    return candidatesOf(
      { logProbs: mix(all, votes, trusted), lm: all, votes },
      candidates,
      this.#model.tokenizer,
    );
  }

  async #cite(
    id: number,
    { row }: Recollection,
    weights: Float64Array,
    wanted: number,
  ): Promise<TokenNeighbor[]> {
    const { around } = this.#options;
    const { datastore } = this.#retriever;
    const { tokenizer } = this.#model;
    const own = weights.subarray(0, row.values.length);
    const hits = supporters(id, row, own, wanted);
    if (around === undefined) {
      return hits.map((hit) => {
        const { document, position, store } = datastore.documents.locate(hit.entry);
        return { ...hit, ...(store !== undefined && { store }), document: document.id, position };
      });
    }
    const cited = await citeEntries(hits, { datastore, tokenizer, around });
    return cited.map((neighbor, i) => ({ ...neighbor, agrees: hits[i]!.agrees }));
  }
}
