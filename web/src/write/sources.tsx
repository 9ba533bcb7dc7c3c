/** The documents a text drew on, as footnotes at its side. */
import type { Neighbor } from '../../../src/server/wire.ts';
import { Passage } from '../parts/passage.tsx';
import { percent, plural } from '../state/format.ts';
import type { Source } from '../state/sources.ts';

export interface SourcesProps {
  sources: readonly Source[];
  noted: number | undefined;
  isWriting: boolean;
  onNote: (note: number | undefined) => void;
  onOpen: (place: Neighbor) => void;
  onLeaveOut: (document: string) => void;
}

export function Sources({ sources, noted, isWriting, ...on }: SourcesProps) {
  return (
    <aside class="sources" aria-label="Sources">
      <h2 class="label">Sources</h2>
      {sources.length === 0 && !isWriting && (
        <p class="soft">No single document stands behind a part of this text.</p>
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
              {plural(source.tokens.length, 'token')}, {percent(source.share)} of{' '}
              {source.tokens.length === 1 ? 'its' : 'their'} probability
            </p>
            <Passage neighbor={source.best} />
            <button
              type="button"
              class="plain"
              aria-label={`Leave out ${source.document}`}
              onClick={() => on.onLeaveOut(source.document)}
            >
              Leave out
            </button>
          </li>
        ))}
      </ol>
    </aside>
  );
}
