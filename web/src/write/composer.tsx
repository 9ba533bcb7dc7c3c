/** The prompt and how to go on from it. */
import { useEffect, useRef } from 'preact/hooks';
import type { DocumentsReply, DocumentTextReply } from '../../../src/server/wire.ts';
import { request } from '../state/api.ts';
import { useLoaded } from '../state/hooks.ts';
import type { Sampling } from './use-completion.ts';

export interface ComposerProps {
  prompt: string;
  sampling: Sampling;
  onPrompt: (prompt: string) => void;
  onSampling: (sampling: Sampling) => void;
  onWrite: () => void;
}

const LENGTHS = [20, 40, 80, 160];
/** Beginnings offered, and the words of each. */
const BEGINNINGS = 3;
const WORDS = 9;

export function Composer({ prompt, sampling, onPrompt, onSampling, onWrite }: ComposerProps) {
  const field = useRef<HTMLTextAreaElement>(null);
  useEffect(() => field.current?.focus(), []);
  const beginnings = useLoaded('beginnings', loadBeginnings);
  const submit = (event: Event): void => {
    event.preventDefault();
    if (prompt.trim()) onWrite();
  };
  const isSubmitKey = (event: KeyboardEvent): boolean =>
    event.key === 'Enter' && (event.metaKey || event.ctrlKey);
  return (
    <form class="composer" onSubmit={submit}>
      <label>
        <span class="label">How the text begins</span>
        <textarea
          ref={field}
          rows={4}
          value={prompt}
          placeholder="The patient should be told that"
          onInput={(event) => onPrompt(event.currentTarget.value)}
          onKeyDown={(event) => isSubmitKey(event) && submit(event)}
        />
      </label>
      <div class="row">
        <label class="inline">
          Tokens
          <select
            value={sampling.length}
            onChange={(event) =>
              onSampling({ ...sampling, length: Number(event.currentTarget.value) })
            }
          >
            {LENGTHS.map((length) => (
              <option key={length} value={length}>
                {length}
              </option>
            ))}
          </select>
        </label>
        <label class="inline">
          Choice
          <select
            value={sampling.isVaried ? 'varied' : 'likeliest'}
            onChange={(event) =>
              onSampling({ ...sampling, isVaried: event.currentTarget.value === 'varied' })
            }
          >
            <option value="likeliest">the likeliest token</option>
            <option value="varied">varied</option>
          </select>
        </label>
        <button type="submit" class="primary" disabled={!prompt.trim()}>
          Write
        </button>
        <kbd class="soft">Ctrl ↵</kbd>
      </div>
      {beginnings.value && beginnings.value.length > 0 && (
        <div class="beginnings">
          <p class="label">Or begin as one of the documents does</p>
          {beginnings.value.map((text) => (
            <button key={text} type="button" class="beginning" onClick={() => onPrompt(text)}>
              {text}…
            </button>
          ))}
        </div>
      )}
    </form>
  );
}

/** First words of a sentence of the first documents. */
async function loadBeginnings(signal: AbortSignal): Promise<string[]> {
  const { documents } = await request<DocumentsReply>(`/v1/knn/documents?limit=${BEGINNINGS}`, {
    signal,
  });
  const texts = await Promise.all(
    documents.map(({ id, store }) => {
      const where = new URLSearchParams({ store, from: '0', limit: '160' });
      return request<DocumentTextReply>(`/v1/knn/documents/${encodeURIComponent(id)}?${where}`, {
        signal,
      });
    }),
  );
  return texts.map(({ pieces }) => beginning(pieces.join(''))).filter((text) => text !== '');
}

/** Of the longest paragraph: titles and lists make poor prompts. */
function beginning(text: string): string {
  const paragraphs = text.split('\n').map((line) => line.trim());
  const longest = paragraphs.reduce((best, line) => (line.length > best.length ? line : best), '');
  return longest.split(/\s+/).slice(0, WORDS).join(' ');
}
