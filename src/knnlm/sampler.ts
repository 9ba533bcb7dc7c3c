/** Picks the next token from log-probabilities: greedy, or truncated sampling with a seed. */
import { KnnLMError } from '../errors.ts';
import { Random } from '../math/random.ts';
import type { SamplingOptions } from './types.ts';

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
    const id =
      this.#options.temperature === 0 ? argmax(scores) : this.#draw(this.#candidates(scores));
    this.#generated.set(id, (this.#generated.get(id) ?? 0) + 1);
    return id;
  }

  #scores(logProbs: Float32Array, seen: ReadonlySet<number>): Float32Array {
    const { repetitionPenalty, frequencyPenalty, presencePenalty, logitBias } = this.#options;
    const biases = Object.entries(logitBias);
    const penalized = frequencyPenalty !== 0 || presencePenalty !== 0;
    if (repetitionPenalty === 1 && !penalized && biases.length === 0) return logProbs;
    const scores = penalize(logProbs, seen, repetitionPenalty);
    for (const [id, bias] of biases) scores[Number(id)]! += bias;
    if (penalized) {
      for (const [id, times] of this.#generated)
        scores[id]! -= presencePenalty + times * frequencyPenalty;
    }
    return scores;
  }

  /** Tokens that may be drawn with their probabilities, most probable first. */
  #candidates(scores: Float32Array): { ids: Int32Array; p: Float64Array } {
    const { temperature, topK, topP, minP } = this.#options;
    const max = scores[argmax(scores)]!;
    // Below e⁻³⁰ of the best a token is drawn once in 10¹³: leaving it out keeps the sort short.
    let ids = indicesAbove(scores, max - 30 * temperature);
    ids.sort((a, b) => scores[b]! - scores[a]! || a - b);
    if (topK > 0) ids = ids.subarray(0, topK);
    let p = Float64Array.from(ids, (id) => Math.exp((scores[id]! - max) / temperature));
    normalize(p);
    let keep = ids.length;
    if (topP < 1) {
      let mass = 0;
      keep = 0;
      while (keep < ids.length && mass < topP) mass += p[keep++]!;
    }
    while (keep > 1 && p[keep - 1]! < minP * p[0]!) keep--;
    ids = ids.subarray(0, keep);
    p = p.subarray(0, keep);
    normalize(p);
    return { ids, p };
  }

  #draw({ ids, p }: { ids: Int32Array; p: Float64Array }): number {
    let left = this.#random.uniform();
    for (let i = 0; i < ids.length; i++) {
      left -= p[i]!;
      if (left < 0) return ids[i]!;
    }
    return ids[ids.length - 1]!;
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
): Float32Array {
  const out = logProbs.slice();
  if (penalty !== 1) for (const id of seen) out[id]! *= penalty;
  return out;
}

function indicesAbove(values: Float32Array, floor: number): Int32Array {
  let count = 0;
  for (let i = 0; i < values.length; i++) if (values[i]! >= floor) count++;
  const ids = new Int32Array(count);
  for (let i = 0, j = 0; i < values.length; i++) if (values[i]! >= floor) ids[j++] = i;
  return ids;
}

function normalize(p: Float64Array): void {
  let sum = 0;
  for (let i = 0; i < p.length; i++) sum += p[i]!;
  for (let i = 0; i < p.length; i++) p[i]! /= sum;
}
