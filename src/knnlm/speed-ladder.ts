/**
 * Settings that are nearly as good as the best and quicker: fewer neighbors, found in fewer lists. What they cost in perplexity and in
 * time hangs on the store and the text, so they are tried, one after another, until one costs too much.
 */
import { KnnLMError } from '../errors.ts';
import type { VectorIndex } from '../indexes/vector-index.ts';

/** What a search may do. */
export interface SearchBudget {
  k: number;
  /** Share of the usual lists (`RetrievalRequest`). */
  effort: number;
}

/** A budget that was tried, and what came of it. */
export interface SpeedStep extends SearchBudget {
  /** With what was fitted to half of the text measured on the other half, both ways. */
  perplexity: number;
  /** Of searching, per target: many at once, and none skipped. */
  searchMs: number;
}

/**
 * Each about half of the work of the one before. Lists go first: the nearest neighbors are in the nearest lists, and half of the lists
 * cost practically nothing (`docs/results/adaptive.md`); fewer neighbors spare the votes' part, too.
 */
const STEPS: readonly SearchBudget[] = [
  { k: 1, effort: 1 / 2 },
  { k: 1, effort: 1 / 4 },
  { k: 1 / 2, effort: 1 / 8 },
  { k: 1 / 4, effort: 1 / 16 },
  { k: 1 / 8, effort: 1 / 32 },
];

/** @returns budgets below a given number of neighbors, the slowest first. Only an inverted file has lists to leave out. */
export function speedLadder(
  k: number,
  { kind, size }: Pick<VectorIndex, 'kind' | 'size'>,
): SearchBudget[] {
  const most = Math.min(k, size);
  const steps = STEPS.map((step) => ({
    k: Math.max(1, Math.floor(most * step.k)),
    effort: kind === 'ivf' ? step.effort : 1,
  }));
  return steps.filter((step, at) => {
    const before = steps[at - 1] ?? { k: most, effort: 1 };
    return step.k !== before.k || step.effort !== before.effort;
  });
}

/** Errors: `INVALID_ARGUMENT`. */
export function checkWithin({
  within,
  effort,
}: {
  within?: number;
  effort?: number;
}): number | undefined {
  if (within === undefined) return undefined;
  if (effort !== undefined) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'An effort is given, or found within what it may cost: leave out one of them.',
    );
  }
  if (within >= 0 && within < Number.POSITIVE_INFINITY) return within;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The share of perplexity that speed may cost must be 0 or more, such as 0.02, not ${within}.`,
  );
}

/** What was tried for speed, the settings without it first. */
export interface SpeedReport {
  within: number;
  tried: SpeedStep[];
  /** The place of what was taken in `tried`. */
  taken: number;
}

/**
 * Goes down the ladder until a step's perplexity is higher than that of the first by more than the share that is allowed.
 * @param within undefined where nothing is to be tried
 * @returns the last attempt that is not, and all, the first among them
 */
export async function speedUp<T extends { step: SpeedStep }>(
  first: T,
  {
    within,
    attempt,
    index,
  }: {
    within: number | undefined;
    attempt: (budget: SearchBudget) => Promise<T>;
    index: Pick<VectorIndex, 'kind' | 'size'>;
  },
): Promise<{ chosen: T; attempts: T[]; speed?: SpeedReport }> {
  if (within === undefined) return { chosen: first, attempts: [first] };
  let chosen = first;
  const attempts = [first];
  for (const budget of speedLadder(first.step.k, index)) {
    const next = await attempt(budget);
    attempts.push(next);
    if (next.step.perplexity > first.step.perplexity * (1 + within)) break;
    chosen = next;
  }
  const tried = attempts.map(({ step }) => step);
  return { chosen, attempts, speed: { within, tried, taken: attempts.indexOf(chosen) } };
}
