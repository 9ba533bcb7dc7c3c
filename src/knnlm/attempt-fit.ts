/** One attempt of tuning: neighbors retrieved within a budget, and everything fitted to them. */
import type { LanguageModel } from '../model/language-model.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import { type CollectOptions, collectNeighbors } from './collect-neighbors.ts';
import type { OfflineTuning, TunedParts } from './fit-offline.ts';
import type { Retriever } from './retriever.ts';
import { runSettingsSearch } from './run-settings-search.ts';
import type { SearchBudget, SpeedStep } from './speed-ladder.ts';
import type { TuningWindow } from './tuning-windows.ts';

export interface Attempt {
  fitted: OfflineTuning;
  step: SpeedStep;
  /** What there was to fit to, without the neighbors themselves; and for how many of the targets any was found. */
  table: Pick<NeighborTable, 'targets' | 'k'> & { found: number };
  /** Of searching and of fitting. */
  seconds: { retrieval: number; tuning: number };
}

export interface AttemptOptions extends SearchBudget, Omit<CollectOptions, keyof SearchBudget> {
  allowed: TunedParts;
}

/** Errors: `ABORTED`, `INVALID_ARGUMENT` when there is not so much memory. */
export async function attemptFit(
  windows: readonly TuningWindow[],
  { model, retriever }: { model: LanguageModel; retriever: Retriever },
  options: AttemptOptions,
): Promise<Attempt> {
  const searchedBefore = retriever.searchMs;
  const collected = await collectNeighbors(
    windows,
    { model, retriever },
    { ...options, withEvidence: true },
  );
  const searchMs = retriever.searchMs - searchedBefore;
  const fitting = performance.now();
  const fitted = await runSettingsSearch(
    { ...collected, allowed: options.allowed },
    options.signal,
  );
  const { targets, k } = collected.neighbors;
  return {
    fitted,
    step: {
      ...{ k: options.k, effort: options.effort },
      perplexity: crossValidated(fitted),
      searchMs: searchMs / Math.max(1, targets),
    },
    table: { targets, k, found: foundIn(collected.neighbors) },
    seconds: { retrieval: searchMs / 1000, tuning: (performance.now() - fitting) / 1000 },
  };
}

function foundIn({ targets, k, distances }: NeighborTable): number {
  let found = 0;
  for (let row = 0; row < targets; row++) {
    if (distances[row * k] !== Number.POSITIVE_INFINITY) found++;
  }
  return found;
}

/** Of what is used: a gate where it beats the constant, both measured on the same targets. */
const crossValidated = ({ search, gate }: OfflineTuning): number =>
  gate ? Math.min(gate.crossValidated, gate.constant) : search.crossValidated;
