/** The documents a text drew on, as footnotes at its side. */
import type { Neighbor } from '../../../src/server/wire.ts';
import { Passage } from '../parts/passage.tsx';
import { percent, plural } from '../state/format.ts';
import type { Source } from '../state/sources.ts';

export interface SourcesProps {
  sources: readonly Source[];
  excluded: readonly string[];
  noted: number | undefined;
  isWriting: boolean;
  onNote: (note: number | undefined) => void;
  onOpen: (place: Neighbor) => void;
  onLeaveOut: (document: string) => void;
  onBringBack: (document: string) => void;
}

export function Sources({ sources, excluded, noted, isWriting, ...on }: SourcesProps) {
  return (
    <aside class="sources" aria-label="Sources">
      <h2 class="label">Sources</h2>
      {sources.length === 0 && !isWriting && (
        <p class="soft">
          No document stands behind this text: the model would have written most of it alone.
        </p>
      )}
      <ol>
        {sources.map((source) => (
          <li
            key={source.document}
            class={source.note === noted ? 'is-noted' : ''}
            onMouseEnter={() => on.onNote(source.note)}
            onMouseLeave={() => on.onNote(undefined)}
            onFocusCapture={() => on.onNote(source.note)}
            onBlurCapture={() => on.onNote(undefined)}
          >
            <span class="number" aria-hidden="true">
              {source.note}
            </span>
            <button type="button" class="title" onClick={() => on.onOpen(source.best)}>
              {source.document}
            </button>
            <p class="meta">
              {plural(source.tokens.length, 'token')}, {percent(source.share)} of their probability
            </p>
            <Passage neighbor={source.best} />
            <button type="button" class="plain" onClick={() => on.onLeaveOut(source.document)}>
              Leave out
            </button>
          </li>
        ))}
      </ol>
      {excluded.length > 0 && (
        <div class="excluded">
          <h3 class="label">Left out</h3>
          {excluded.map((document) => (
            <button
              key={document}
              type="button"
              class="chip"
              onClick={() => on.onBringBack(document)}
              aria-label={`Bring back ${document}`}
            >
              {document} <span aria-hidden="true">×</span>
            </button>
          ))}
        </div>
      )}
    </aside>
  );
}
