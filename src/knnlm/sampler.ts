/** Picks the next token from log-probabilities: greedy, or truncated sampling with a seed. */
import { KnnLMError } from '../errors.ts';
import { exp } from '../math/exp.ts';
import { sortedByFloat } from '../math/order.ts';
import { Random } from '../math/random.ts';
import type { SamplingOptions } from './generation-types.ts';
import { weightSum } from './weight-sum.ts';

/** Errors: `INVALID_ARGUMENT` with the value seen. */
export function checkSampling(options: SamplingOptions): void {
  const {
    temperature = 0,
    topK = 0,
    topP = 1,
    minP = 0,
    repetitionPenalty = 1,
    frequencyPenalty = 0,
    presencePenalty = 0,
    logitBias = {},
    seed = 0,
  } = options;
  const bad = (what: string, value: number): never => {
    throw new KnnLMError('INVALID_ARGUMENT', `${what}, not ${value}.`);
  };
  if (!(temperature >= 0 && temperature < Number.POSITIVE_INFINITY)) {
    bad('The sampling temperature must be 0 or more', temperature);
  }
  if (!Number.isInteger(topK) || topK < 0) bad('top-k must be a whole number from 0', topK);
  if (!(topP > 0 && topP <= 1)) bad('top-p must lie above 0 and at most at 1', topP);
  if (!(minP >= 0 && minP <= 1)) bad('min-p must lie between 0 and 1', minP);
  if (!(repetitionPenalty > 0)) bad('The repetition penalty must be above 0', repetitionPenalty);
  if (!Number.isFinite(frequencyPenalty))
    bad('The frequency penalty must be a number', frequencyPenalty);
  if (!Number.isFinite(presencePenalty))
    bad('The presence penalty must be a number', presencePenalty);
  for (const bias of Object.values(logitBias))
    if (Number.isNaN(bias)) bad('A logit bias must be a number', bias);
  if (!Number.isSafeInteger(seed)) bad('The seed must be a whole number', seed);
}

/**
 * One sequence's sampler. Steps, in the order Hugging Face transformers applies them: bias and penalties, temperature,
 * top-k, top-p, min-p.
 */
export class Sampler {
  readonly #options: Required<Omit<SamplingOptions, 'seed'>>;
  readonly #random: Random;
  /** How often each token was picked. */
  readonly #generated = new Map<number, number>();
  /** (V) scores after bias and penalties. */
  #changed: Float32Array | undefined;

  constructor(options: SamplingOptions = {}) {
    checkSampling(options);
    this.#options = {
      temperature: options.temperature ?? 0,
      topK: options.topK ?? 0,
      topP: options.topP ?? 1,
      minP: options.minP ?? 0,
      repetitionPenalty: options.repetitionPenalty ?? 1,
      frequencyPenalty: options.frequencyPenalty ?? 0,
      presencePenalty: options.presencePenalty ?? 0,
      logitBias: options.logitBias ?? {},
    };
    this.#random = new Random(options.seed ?? Math.floor(Math.random() * 2 ** 48));
  }

  /**
   * @param logProbs (V) natural-log probabilities; not changed
   * @param seen tokens of the prompt and the text so far, for the repetition penalty
   */
  next(logProbs: Float32Array, seen: ReadonlySet<number>): number {
    const scores = this.#scores(logProbs, seen);
    const isUnchanged = scores === logProbs;
    const id =
      this.#options.temperature === 0
        ? argmax(scores)
        : this.#draw(scores, isUnchanged ? 1 : undefined);
    this.#generated.set(id, (this.#generated.get(id) ?? 0) + 1);
    return id;
  }

  #scores(logProbs: Float32Array, seen: ReadonlySet<number>): Float32Array {
    const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = this.#options;
    const biases = Object.entries(logitBias);
    const penalized = frequencyPenalty !== 0 || presencePenalty !== 0;
    if (repetitionPenalty === 1 && !penalized && biases.length === 0) return logProbs;
    const scores = penalize(logProbs, seen, repetitionPenalty, this.#room(logProbs.length));
    for (const [id, bias] of biases) scores[Number(id)]! += bias;
    if (penalized) {
      for (const [id, times] of this.#generated)
        scores[id]! -= presencePenalty + times * frequencyPenalty;
    }
    return scores;
  }

  /** One for all tokens. */
  #room(length: number): Float32Array {
    if (this.#changed?.length !== length) this.#changed = new Float32Array(length);
    return this.#changed;
  }

  /** @param total Σ exp(score), where it is known */
  #draw(scores: Float32Array, total: number | undefined): number {
    const { temperature, topK, topP, minP } = this.#options;
    const max = scores[argmax(scores)]!;
    /** Probability as a share of the best one's. */
    const weight = (id: number): number => exp((scores[id]! - max) / temperature);
    const ranking = new Ranking(scores, max, 2 * temperature);
    const all = (): number =>
      total !== undefined && temperature === 1
        ? total / Math.exp(max)
        : weightSum(scores, max, temperature);
    let mass: number;
    let kept = Number.POSITIVE_INFINITY;
    if (topK === 0 && topP === 1 && minP === 0) mass = all();
    else {
      const most = topK || Number.POSITIVE_INFINITY;
      const enough = topP < 1 ? topP * (topK > 0 ? ranking.sum(topK, weight) : all()) : Infinity;
      mass = 0;
      for (kept = 0; kept < most && mass < enough; kept++) {
        const id = ranking.at(kept);
        if (id === undefined || (kept > 0 && weight(id) < minP)) break;
        mass += weight(id);
      }
    }
    let left = this.#random.uniform() * mass;
    for (let rank = 0; ; rank++) {
      const id = ranking.at(rank)!;
      left -= weight(id);
      // Rounding may leave a little behind the last one.
      if (left < 0 || rank + 1 === kept || ranking.at(rank + 1) === undefined) return id;
    }
  }
}

/** Below e⁻³⁰ of the best a token is drawn once in 10¹³: it is left out. In bands. */
const MOST_BANDS = 15;

/** Tokens from the best down, sorted only as far as somebody looks: by bands of scores, since nearly all draws fall into the first ones. */
class Ranking {
  readonly #scores: Float32Array;
  readonly #max: number;
  readonly #band: number;
  readonly #ids: number[] = [];
  #bands = 0;

  /** @param band width of a band, above 0 */
  constructor(scores: Float32Array, max: number, band: number) {
    this.#scores = scores;
    this.#max = max;
    this.#band = band;
  }

  /** The token of a rank, 0 the best; of equal scores the first comes first. Undefined behind the last. */
  at(rank: number): number | undefined {
    while (rank >= this.#ids.length && this.#bands < MOST_BANDS) this.#sortNext();
    return this.#ids[rank];
  }

  /** Of the first `count`. */
  sum(count: number, weight: (id: number) => number): number {
    let sum = 0;
    for (let rank = 0; rank < count; rank++) {
      const id = this.at(rank);
      if (id === undefined) break;
      sum += weight(id);
    }
    return sum;
  }

  #sortNext(): void {
    const scores = this.#scores;
    const below = this.#bands === 0 ? Infinity : this.#max - this.#bands * this.#band;
    this.#bands++;
    const from = this.#max - this.#bands * this.#band;
    const ids: number[] = [];
    for (let i = 0; i < scores.length; i++) {
      if (scores[i]! >= from && scores[i]! < below) ids.push(i);
    }
    for (const id of sortedByFloat(ids, scores, -1)) this.#ids.push(id);
  }
}

/** Index of the largest value, the first among equals. */
export function argmax(values: Float32Array): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/** The k largest values' indices, largest first. */
export function largest(values: Float32Array, k: number): number[] {
  const best: number[] = [];
  for (let i = 0; i < values.length; i++) {
    if (best.length === k && values[i]! <= values[best[k - 1]!]!) continue;
    let at = best.length;
    while (at > 0 && values[best[at - 1]!]! < values[i]!) at--;
    best.splice(at, 0, i);
    if (best.length > k) best.pop();
  }
  return best;
}

/** Keskar et al. 2019, section 4.1, on log-probabilities: all are negative, so the penalty multiplies. */
function penalize(
  logProbs: Float32Array,
  seen: ReadonlySet<number>,
  penalty: number,
  out: Float32Array,
): Float32Array {
  out.set(logProbs);
  if (penalty !== 1) for (const id of seen) out[id]! *= penalty;
  return out;
}
