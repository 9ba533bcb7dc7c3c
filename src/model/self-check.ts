/**
 * Whether a model does what the method takes for granted, tried on a dozen tokens before its first use.
 *
 *   finite      no key is infinite or not a number (float16 overflows in some models)
 *   alive       other tokens give other keys
 *   causal      a token changes no key before it; otherwise stored keys know their target, and perplexity is none
 *   batch       a window's keys are the same alone and beside other windows; otherwise a query is no stored state
 *   cache       reading on from the attention cache gives the state of reading all at once
 *   source      of an encoder-decoder: another source gives other keys; that beside a longer one its padding is not seen, `batch` shows
 *   steps       the next tokens of several texts, read at once from caches of different lengths, give the states of each alone; a
 *               model that fails this one is used, its steps one by one
 *
 * A graph can fail any of these without failing to run: a bidirectional model, activations quantized with one scale a run, a
 * cache traced at a fixed length, a tensor named by hand. Costs four short runs, milliseconds for small models.
 */
import type { ModelDtype, NextToken } from './language-model.ts';

/** Tokens of a probe: long enough for windows of attention and convolutions of a few positions. */
const LENGTH = 12;
/** From here on the second probe has other tokens. */
const CHANGE = 7;
/** Tokens read one by one when steps are tried. */
const STEPS = 2;
/** Length of the window that shares a batch with a longer one. */
const SHORT = 5;

export interface ProbeOptions {
  vocabSize: number;
  /** Token before every document. */
  bos: number;
  /** Token of padding: no text has it. */
  pad?: number | undefined;
  contextLength: number;
  dtype: ModelDtype;
}

/** States by position, one or more arrays (T, width) per window: keys, log-probabilities. */
export type ReadProbe = (windows: readonly Int32Array[]) => Promise<readonly Float32Array[][]>;

/** @returns what is wrong, one clause; undefined when nothing is */
export async function checkStates(
  read: ReadProbe,
  options: ProbeOptions,
): Promise<string | undefined> {
  const { text, changed, change, short } = probes(options);
  const tolerance = toleranceFor(options.dtype);
  const [alone] = await read([text]);
  if (alone!.some((states) => !states.every(Number.isFinite))) {
    return 'it gives numbers that are infinite or none at all. Use another dtype, such as fp32';
  }
  const [other] = await read([changed]);
  for (const [i, states] of alone!.entries()) {
    const before = relativeDifference(states, other![i]!, { positions: text.length, to: change });
    if (before > tolerance) {
      return `a token changes states before it (by ${percent(before)}), so what is stored would know its own target. Use a causal language model, in fp32, fp16, q4 or q4f16`;
    }
  }
  const after = relativeDifference(alone![0]!, other![0]!, {
    positions: text.length,
    from: change,
  });
  if (change < text.length && after < Number.EPSILON) {
    return 'the key is the same whatever the text. Choose another with --key or --key-tensor';
  }
  const [shortAlone] = await read([short]);
  const [longBeside, shortBeside] = await read([text, short]);
  const difference = Math.max(
    ...alone!.map((states, i) =>
      relativeDifference(states, longBeside![i]!, { positions: text.length }),
    ),
    ...shortAlone!.map((states, i) =>
      relativeDifference(states, shortBeside![i]!, { positions: short.length }),
    ),
  );
  if (difference <= tolerance) return undefined;
  return `a text read beside another gives other states than alone (by ${percent(difference)}). Use another export of the model`;
}

/** @param read states of a window of an encoder-decoder that attends to the given source */
export async function checkSource(
  read: (window: Int32Array, source: Int32Array) => Promise<Float32Array>,
  options: ProbeOptions,
): Promise<string | undefined> {
  const { text, changed, short } = probes(options);
  const [one, other] = [await read(short, text), await read(short, changed)];
  const difference = relativeDifference(one, other, { positions: short.length });
  if (difference >= Number.EPSILON) return undefined;
  return 'the key is the same whatever the source. Choose another with --key or --key-tensor';
}

/** @param read a fresh decoder's state after reading the given parts one after another */
export async function checkCache(
  read: (parts: readonly Int32Array[]) => Promise<NextToken>,
  options: ProbeOptions,
): Promise<string | undefined> {
  const { text, change } = probes(options);
  const whole = await read([text]);
  const parts = [text.slice(0, change - 1), text.slice(change - 1, change), text.slice(change)];
  const split = await read(parts.filter((part) => part.length > 0));
  const positions = 1;
  const difference = Math.max(
    relativeDifference(whole.key, split.key, { positions }),
    relativeDifference(whole.logProbs, split.logProbs, { positions }),
  );
  if (difference <= toleranceFor(options.dtype)) return undefined;
  return `reading on from its attention cache gives another state than reading the whole text (by ${percent(difference)}). Use another export of the model`;
}

/** The states after texts whose last tokens were read one at a time. */
export type ReadSteps = (texts: readonly Int32Array[], steps: number) => Promise<NextToken[]>;

/** Whether texts of different lengths that are read together come to the states of each alone. */
export async function checkSteps(
  alone: ReadSteps,
  together: ReadSteps,
  options: ProbeOptions,
): Promise<boolean> {
  const { text, changed, short } = probes(options);
  const texts = [text, short, changed.subarray(0, -1)];
  // Too short a context to tell anything.
  if (texts.some(({ length }) => length < 2 * STEPS)) return false;
  const [expected, found] = [await alone(texts, STEPS), await together(texts, STEPS)];
  const differences = expected.flatMap(({ key, logProbs }, i) => [
    relativeDifference(key, found[i]!.key, { positions: 1 }),
    relativeDifference(logProbs, found[i]!.logProbs, { positions: 1 }),
  ]);
  return Math.max(...differences) <= toleranceFor(options.dtype);
}

/** Two texts that part at `change`, and a short one. */
export function probes({ vocabSize, bos, pad, contextLength }: ProbeOptions) {
  const length = Math.max(2, Math.min(LENGTH, contextLength));
  const change = Math.min(CHANGE, length - 1);
  // Multiplicative hashing spreads the ids over the vocabulary; BOS first, as every text has it.
  const next = (id: number): number => (id + 1) % vocabSize;
  const noPad = (id: number): number => (id === pad ? next(id) : id);
  const token = (i: number): number => noPad((Math.imul(i, 0x9e3779b1) >>> 0) % vocabSize);
  const text = Int32Array.from({ length }, (_, i) => (i === 0 ? bos : token(i)));
  const changed = text.map((id, i) => (i < change ? id : noPad(next(id))));
  const short = Int32Array.from({ length: Math.min(SHORT, length - 1) }, (_, i) => token(i + 100));
  return { text, changed, change, short };
}

/** Rounding differs with the shape of a run: by 10⁻⁶ of a state in float32, by some 10⁻³ in float16. Leaks are larger. */
const toleranceFor = (dtype: ModelDtype): number =>
  dtype === 'fp16' || dtype === 'q4f16' ? 2e-2 : 1e-3;

interface Positions {
  positions: number;
  from?: number;
  to?: number;
}

/** Largest ‖a − b‖ / ‖a‖ of any position between `from` and `to`. */
export function relativeDifference(
  a: Float32Array,
  b: Float32Array,
  { positions, from = 0, to = positions }: Positions,
): number {
  const width = a.length / positions;
  let largest = 0;
  for (let position = from; position < to; position++) {
    let norm = 0;
    let difference = 0;
    for (let i = position * width; i < (position + 1) * width; i++) {
      norm += a[i]! ** 2;
      difference += (a[i]! - b[i]!) ** 2;
    }
    const relative = Math.sqrt(difference / (norm || 1));
    // What is not a number is no small difference.
    if (!(relative <= largest))
      largest = Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative;
  }
  return largest;
}

const percent = (share: number): string => `${(100 * share).toPrecision(2)}%`;
