/** One token: why it was said, what else could have been, who voted, and what would change it. */
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks';
import type { InfoReply, RawNeighbors, SearchReply } from '../../../src/server/wire.ts';
import { CopyButtons } from '../parts/copy-buttons.tsx';
import { Deviations } from '../parts/deviations.tsx';
import { AROUND } from '../parts/passage.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { visibleToken } from '../state/format.ts';
import { type Navigation, useLoaded, useSettled } from '../state/hooks.ts';
import { leftOutMask, Mixer } from '../state/mixture.ts';
import { type Draft, ownSettings, settingsOf } from '../state/settings.ts';
import { Blame } from './blame.tsx';
import { Candidates } from './candidates.tsx';
import { Neighbors } from './neighbors.tsx';
import { Verdict } from './verdict.tsx';
import { WhatIf } from './what-if.tsx';

/** The most that the slider for k offers, unless the store's own k is larger. */
const MOST = 1024;
/** Neighbors whose text comes with the first answer; the others when they are scrolled to. */
const FIRST_SHOWN = 48;

export interface TokenPanelProps {
  info: InfoReply;
  inspection: Navigation['inspection'];
  /** (T) of the whole text. */
  ids: readonly number[];
  at: number;
  /** The token there, as it was told with the text. */
  token: RawNeighbors['candidates'][number];
  amend: Navigation['amend'];
  go: Navigation['go'];
  /** Goes on with another token in its place; not offered where a text is only scored. */
  onContinue?: (id: number) => void;
}

export function TokenPanel({
  info,
  inspection,
  ids,
  at,
  token,
  amend,
  go,
  onContinue,
}: TokenPanelProps) {
  const exclude = inspection.exclude ?? [];
  const [draft, setDraft] = useDraft(amend);
  const settings = settingsOf(info, { ...inspection, ...draft });
  const own = ownSettings(info);
  const most = Math.max(MOST, own.k);
  // A gate goes with the store's own k; it is told when no other is asked for.
  const isOwnK = own.gate && (inspection.k ?? 0) <= own.k;
  const found = useNeighbors(ids, at, isOwnK ? undefined : most, exclude);
  const { value } = found.loaded;
  const mixer = useMemo(() => value?.raw && new Mixer(value.raw, token), [value, token.id]);
  const mixed = useMemo(
    () =>
      mixer?.mix(
        settings.gate ? { ...settings, k: own.k } : settings,
        leftOutMask(mixer.raw, exclude),
      ),
    [mixer, JSON.stringify(settings), exclude.join('\n')],
  );
  const [picked, setPicked] = useState<number>();
  useEffect(() => setPicked(undefined), [at, ids]);
  const close = (): void => {
    amend({ at: undefined });
    document.querySelector<HTMLElement>(`[data-t="${at}"]`)?.focus();
  };
  useEscape(close);
  const panel = useRef<HTMLElement>(null);
  useEffect(() => void panel.current!.scrollTo({ top: 0 }), [at]);
  const leaveOut = (document: string): void =>
    amend({ exclude: [...new Set([...exclude, document])] });
  const open = (place: { document: string; store: string; position: number }): void =>
    go({ view: 'documents', ...place });
  const nameOf = (id: number): string =>
    visibleToken(mixer?.raw.candidates[mixer.candidate(id)]?.text ?? token.text);
  return (
    <aside ref={panel} class="panel" aria-label={`Token ${visibleToken(token.text)}`}>
      <header class="panel-head">
        <h2 class="token-name">{visibleToken(token.text)}</h2>
        <span class="soft">
          token {at + 1} of {ids.length}
        </span>
        <button type="button" class="plain close" onClick={close} aria-label="Close the token">
          ×
        </button>
      </header>
      {found.loaded.error && <ErrorNote error={found.loaded.error} onRetry={found.loaded.retry} />}
      {!mixed && found.loaded.isLoading && (
        <Waiting what="Looking for its neighbors" isSlow={found.loaded.isSlow} />
      )}
      {mixer && mixed && value && (
        <div class={found.isStale ? 'is-stale' : ''} aria-busy={found.isStale}>
          <Verdict mixer={mixer} mixed={mixed} token={token.id} />
          <LeftOut parts={value.left_out} />
          <Deviations
            info={info}
            inspection={{ view: inspection.view, exclude }}
            amend={amend}
            onOpen={(document) => go({ view: 'documents', document })}
          />
          <Candidates
            mixer={mixer}
            mixed={mixed}
            token={token.id}
            picked={picked}
            onPick={setPicked}
            onContinue={onContinue}
          />
          <Blame
            mixer={mixer}
            mixed={mixed}
            token={picked ?? token.id}
            name={nameOf(picked ?? token.id)}
            onOpen={open}
            onLeaveOut={leaveOut}
          />
          <WhatIf
            settings={settings}
            own={own}
            lambda={mixed.lambda}
            most={most}
            onChange={setDraft}
            onReset={() => {
              setDraft({});
              amend({ k: undefined, lambda: undefined, temperature: undefined, gate: undefined });
            }}
          />
          <div class="panel-links">
            <button
              type="button"
              class="plain"
              onClick={() => go({ view: 'store', ids: [...ids.slice(0, at)] })}
            >
              On the map
            </button>
            <CopyButtons
              json={() => ({ ...value, milliseconds: undefined, token: token.text, settings })}
            />
          </div>
          <Neighbors
            reply={value}
            mixer={mixer}
            mixed={mixed}
            picked={picked}
            onClearPicked={() => setPicked(undefined)}
            onMore={() => found.show(value.raw!.entries.length)}
            onOpen={open}
            onLeaveOut={leaveOut}
          />
        </div>
      )}
    </aside>
  );
}

const PARTS = { cache: 'the text so far', pointers: 'pointers', adaptive: 'skipped searches' };

/** That the figures here are of the store alone, where those of the text are not. */
function LeftOut({ parts }: { parts: SearchReply['left_out'] }) {
  if (parts.length === 0) return null;
  const names = parts.map((part) => PARTS[part]);
  return (
    <p class="soft">
      From the store alone. The text’s own figures count {listOf(names)} too, and may differ.
    </p>
  );
}

const listOf = (names: readonly string[]): string =>
  names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;

/** The Escape key, unless it is meant for a dialog or a field. */
function useEscape(then: () => void): void {
  const current = useRef(then);
  current.current = then;
  useLayoutEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      const isElsewhere = (event.target as HTMLElement).closest?.('dialog, input[type="search"]');
      if (event.key === 'Escape' && !isElsewhere) current.current();
    };
    addEventListener('keydown', listen);
    return () => removeEventListener('keydown', listen);
  }, []);
}

/** The neighbors of a place in a text; those shown before stay until the new ones are there. */
function useNeighbors(
  ids: readonly number[],
  at: number,
  k: number | undefined,
  exclude: readonly string[],
) {
  const place = useSettled(ids.slice(0, at).join(' '), 60);
  const [show, setShow] = useState(FIRST_SHOWN);
  useEffect(() => setShow(FIRST_SHOWN), [place]);
  const key = JSON.stringify([place, k, exclude, show]);
  const loaded = useLoaded<SearchReply>(key, (signal) =>
    request('/v1/knn/search', {
      signal,
      body: {
        token_ids: place === '' ? [] : place.split(' ').map(Number),
        k,
        exclude_documents: exclude,
        show,
        around: AROUND,
        raw: true,
      },
    }),
  );
  return {
    loaded,
    isStale: loaded.isLoading && show === FIRST_SHOWN,
    show: setShow,
  };
}

/** Settings that are being moved: shown at once, in the address when they rest. */
function useDraft(amend: Navigation['amend']): [Draft, (part: Draft) => void] {
  const [draft, setDraft] = useState<Draft>({});
  const settled = useSettled(draft, 300);
  useEffect(() => {
    if (Object.keys(settled).length === 0) return;
    amend(settled);
    setDraft((now) => (now === settled ? {} : now));
  }, [settled, amend]);
  return [
    draft,
    (part) => setDraft((now) => (Object.keys(part).length === 0 ? {} : { ...now, ...part })),
  ];
}
