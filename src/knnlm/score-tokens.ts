/**
 * A text token by token under model and mixture, as evaluation scores a document, with what evaluation need not know: the
 * neighbors that voted and, when asked for, the most probable candidates at every position.
 */
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Decoder, LanguageModel } from '../model/language-model.ts';
import { citeEntries } from './cite.ts';
import type { Weighed } from './gate.ts';
import { candidatesOf, supporters } from './generate.ts';
import { interpolate, mixture, votesOf } from './interpolate.ts';
import { neighborRow, type RetrievedRow, type Retriever } from './retriever.ts';
import { Trust } from './trust.ts';
import type { ResolvedSettings, TokenNeighbor, TokenScore } from './types.ts';
import { Weigher } from './weigh.ts';
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

/** Queries searched at once. */
const QUERIES_AT_ONCE = 256;
/** Bytes of log-probabilities brought over from the model at once. */
const STATES_BYTES = 2 ** 24;

/** The states of some positions. Shapes: T positions, d key width, V vocabulary. */
interface States {
  /** (T, d) */
  keys: Float32Array;
  /** (T) log p_LM of the target. */
  lm: Float32Array;
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
  const mixer = new StepMixer(model, retriever, options);
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
      for await (const { first, ...part } of states) {
        if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The scoring was stopped.');
        yield await mixer.score(own.targets.subarray(first, first + part.lm.length), part);
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
    const { keys, logProbs } = scored!;
    yield { first, keys: keys.slice(first * d, end * d), lm: logProbs.slice(first, end) };
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
    yield { first, keys, lm, logProbs };
  }
}

/** Mixes one target after another; a gate's trust in the store follows the text. */
class StepMixer {
  readonly #model: LanguageModel;
  readonly #retriever: Retriever;
  readonly #options: ScoreTokensOptions;
  readonly #weigher: Weigher;
  readonly #trust = new Trust();
  readonly #breather = new Breather();

  constructor(model: LanguageModel, retriever: Retriever, options: ScoreTokensOptions) {
    this.#model = model;
    this.#retriever = retriever;
    this.#options = options;
    this.#weigher = new Weigher(options.settings);
  }

  async score(targets: Int32Array, states: States): Promise<TokenScore[]> {
    const { settings, exclude, signal, neighbors = 0 } = this.#options;
    const wanted = settings.gate !== undefined || settings.lambda > 0 || neighbors > 0;
    const found = wanted
      ? await this.#retriever.retrieve(states.keys, {
          k: settings.k,
          within: settings.lambdas?.map(({ range }) => range),
          exclude,
          signal,
        })
      : undefined;
    const scored: TokenScore[] = [];
    for (const [i, id] of targets.entries()) {
      const row = found && neighborRow(found, i);
      const all = this.#distribution(states, i, targets.length);
      scored.push(await this.#mix(id, states.lm[i]!, row, all));
      await this.#breather.pause();
    }
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
    row: RetrievedRow | undefined,
    all?: Float32Array,
  ): Promise<TokenScore> {
    const weighed = this.#weigh(row);
    let voted = 0;
    if (row) {
      for (let i = 0; i < row.values.length; i++)
        if (row.values[i] === id) voted += weighed.weights[i]!;
    }
    const logPKnn = Math.log(voted);
    const { candidates = 0, neighbors = 0, settings } = this.#options;
    const trust = settings.gate ? this.#trust.share : 1;
    const lambda = weighed.lambda * trust;
    const logP = interpolate(lm, logPKnn, lambda);
    if (settings.gate && row) this.#trust.next(interpolate(lm, logPKnn, weighed.lambda), lm);
    const votes = all && row ? votesOf(row, weighed.weights) : new Map<number, number>();
    return {
      id,
      logP,
      logPLm: lm,
      logPKnn,
      ...(all && {
        candidates: candidatesOf(
          { logProbs: mixture(all, votes, lambda), lm: all, votes },
          candidates,
          this.#model.tokenizer,
        ),
      }),
      neighbors: row && neighbors > 0 ? await this.#cite(id, row, weighed, neighbors) : [],
    };
  }

  #weigh(row: RetrievedRow | undefined): Weighed {
    const nothing = !row || row.distances[0] === Number.POSITIVE_INFINITY;
    return nothing
      ? { lambda: 0, weights: new Float64Array(row?.values.length ?? 0) }
      : this.#weigher.weigh(row);
  }

  async #cite(
    id: number,
    row: RetrievedRow,
    { weights }: Weighed,
    wanted: number,
  ): Promise<TokenNeighbor[]> {
    const { around } = this.#options;
    const { datastore } = this.#retriever;
    const { tokenizer } = this.#model;
    const hits = supporters(id, row, weights, wanted);
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
