/** Which documents stood behind what was written and scored lately. */
import type { StatisticsReply } from '../../../src/server/wire.ts';
import { Empty, ErrorNote } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { percent, plural } from '../state/format.ts';
import { useLoaded } from '../state/hooks.ts';

const SHOWN = 12;

export interface LatelyProps {
  /** Read anew when it changes. */
  version: number;
  onOpen: (document: string, store: string) => void;
}

export function Lately({ version, onOpen }: LatelyProps) {
  const loaded = useLoaded<StatisticsReply>(`statistics ${version}`, (signal) =>
    request('/v1/knn/statistics', { signal }),
  );
  if (loaded.error) return <ErrorNote error={loaded.error} onRetry={loaded.retry} />;
  if (!loaded.value) return null;
  const { contributions, recent_tokens } = loaded.value;
  if (contributions.length === 0) {
    return (
      <Empty title="Open a document to read it as memory holds it.">
        <p>What each gives to the texts that are written and scored will be told here.</p>
      </Empty>
    );
  }
  const most = contributions[0]!.share;
  return (
    <section class="lately" aria-label="Lately">
      <h2>Behind what was said lately</h2>
      <p class="soft">
        What each document gave to the probability of the last {plural(recent_tokens, 'token')}{' '}
        written and scored. Open one to read it as memory holds it.
      </p>
      <ol>
        {contributions.slice(0, SHOWN).map(({ document, store, tokens, share }) => (
          <li key={`${store}/${document}`}>
            <button
              type="button"
              class="title"
              title={document}
              onClick={() => onOpen(document, store)}
            >
              {document}
            </button>
            <span class="meta">
              {percent(share / recent_tokens)}, behind {plural(tokens, 'token')}
            </span>
            <i aria-hidden="true" style={{ transform: `scaleX(${share / most})` }} />
          </li>
        ))}
      </ol>
    </section>
  );
}
