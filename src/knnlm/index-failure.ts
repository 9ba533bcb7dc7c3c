/** What becomes of a request whose index cannot be searched: it fails, or goes on with the model alone and says so. */
import { KnnLMError } from '../errors.ts';
import type { ResolvedSettings, WithoutMemory } from './types.ts';

/** @returns what the search found, or why the model must do alone. Errors: those of the search, where that is not allowed. */
export async function orWithoutMemory<Found extends object>(
  { onIndexFailure }: Pick<ResolvedSettings, 'onIndexFailure'>,
  search: () => Promise<Found>,
): Promise<Found | { failed: string }> {
  try {
    return await search();
  } catch (error) {
    const isAllowed = onIndexFailure === 'lm' && error instanceof KnnLMError;
    if (!isAllowed || error.code !== 'INDEX_UNAVAILABLE') throw error;
    return { failed: error.message };
  }
}

/** Counts the tokens that the model gave alone. */
export class MemoryFailures {
  #tokens = 0;
  #reason = '';

  add(tokens: number, reason: string): void {
    this.#tokens += tokens;
    this.#reason = reason;
  }

  /** As a result tells them: nothing when there were none. */
  get result(): { withoutMemory?: WithoutMemory } {
    if (this.#tokens === 0) return {};
    return { withoutMemory: { tokens: this.#tokens, reason: this.#reason } };
  }
}
