/** What the model would have written from the same prompt without memory. */
import type { CompletionReply } from '../../../src/server/wire.ts';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { useLoaded } from '../state/hooks.ts';
import { type Sampling, samplingFields } from './use-completion.ts';

export interface AloneProps {
  /** Token ids of the prompt. */
  prompt: readonly number[];
  sampling: Sampling;
  onClose: () => void;
}

export function Alone({ prompt, sampling, onClose }: AloneProps) {
  const body = { prompt, ...samplingFields(sampling), knn: { lambda: 0, gate: false } };
  const written = useLoaded<CompletionReply>(JSON.stringify(body), (signal) =>
    request('/v1/completions', { body, signal }),
  );
  return (
    <section class="alone" aria-label="Without memory">
      <h2 class="label">
        The model alone, from the same prompt
        <button type="button" class="plain" onClick={onClose}>
          Hide
        </button>
      </h2>
      {written.error && <ErrorNote error={written.error} onRetry={written.retry} />}
      {!written.value && written.isLoading && (
        <Waiting what="Writing without memory" isSlow={written.isSlow} />
      )}
      {written.value && (
        <p class={`alone-text${written.isLoading ? ' is-stale' : ''}`}>
          {written.value.choices[0]!.text.trim() || 'Nothing: it ends the text here.'}
        </p>
      )}
    </section>
  );
}
