/** Write: a prompt, the completion as it streams, its sources at the side, and any of its tokens opened. */
import { useMemo, useState } from 'preact/hooks';
import type { KnnToken } from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { CopyButtons } from '../parts/copy-buttons.tsx';
import { Deviations } from '../parts/deviations.tsx';
import { Legend } from '../parts/legend.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import type { ShownToken } from '../parts/token.tsx';
import { TokenText } from '../parts/token-text.tsx';
import { percent } from '../state/format.ts';
import type { Inspection } from '../state/inspection.ts';
import { memoryShare } from '../state/mixture.ts';
import { logRatio } from '../state/moved.ts';
import { type Source, type Span, sourcesOf } from '../state/sources.ts';
import { TokenPanel } from '../token/token-panel.tsx';
import { Alone } from './alone.tsx';
import { Composer } from './composer.tsx';
import { Sources } from './sources.tsx';
import { type Sampling, useCompletion } from './use-completion.ts';

export function WriteView({ info, inspection, amend, go }: ViewProps) {
  const completion = useCompletion(info, { inspection, go });
  const [sampling, setSampling] = useState<Sampling>({ length: 40, isVaried: false });
  const [noted, setNoted] = useState<number>();
  const { tokens, prompted, phase, error } = completion;
  const shown = useMemo(
    () => tokens.map((token, t) => shownToken(token, t < prompted)),
    [tokens, prompted],
  );
  const { spans, sources } = useMemo(() => completedSources(tokens, prompted), [tokens, prompted]);
  const at =
    inspection.at !== undefined && inspection.at < tokens.length ? inspection.at : undefined;
  const ids = useMemo(() => tokens.map(({ id }) => id), [tokens]);
  const leaveOut = (document: string): void =>
    amend({ exclude: [...new Set([...(inspection.exclude ?? []), document])] });

  if (tokens.length === 0 && phase === 'idle') {
    return (
      <div class="opening">
        <h1>See why it says what it says.</h1>
        <p class="lead">
          Every word the model writes is weighed against the documents in its memory. Write
          something, then pick any word to see which passages spoke for it.
        </p>
        {error && <ErrorNote error={error} />}
        <Composer
          prompt={inspection.prompt ?? ''}
          sampling={sampling}
          onPrompt={(prompt) => amend({ prompt })}
          onSampling={setSampling}
          onWrite={() => completion.write(inspection.prompt ?? '', sampling)}
        />
        <Deviations info={info} inspection={inspection} amend={amend} />
      </div>
    );
  }
  const isWriting = phase === 'writing';
  return (
    <div class={`inspect${at === undefined ? '' : ' has-token'}`}>
      <section class="reading" aria-label="Text">
        <h1 class="visually-hidden">What was written</h1>
        <Legend />
        {tokens.length === 0 && (
          <Waiting what={isWriting ? 'Reading the prompt' : 'Reading the text'} />
        )}
        <div class={phase === 'reading' ? 'is-stale' : ''} aria-busy={phase !== 'idle'}>
          <TokenText
            label="Prompt and completion, by tokens"
            tokens={shown}
            spans={spans}
            selected={at}
            noted={noted}
            onSelect={(index) => amend({ at: index })}
            onNote={setNoted}
          />
          {isWriting && <span class="caret" aria-hidden="true" />}
        </div>
        {error && <ErrorNote error={error} />}
        <div class="actions" hidden={tokens.length === 0 && !isWriting}>
          {isWriting ? (
            <button type="button" onClick={completion.stop}>
              Stop
            </button>
          ) : (
            <>
              <button type="button" class="primary" onClick={() => completion.write(ids, sampling)}>
                Write on
              </button>
              <button
                type="button"
                onClick={() => go(promptAgain(inspection, tokens.slice(0, prompted)))}
              >
                Edit the prompt
              </button>
              {prompted > 0 && !inspection.alone && (
                <button type="button" onClick={() => amend({ alone: true })}>
                  And without memory?
                </button>
              )}
            </>
          )}
          <CopyButtons
            json={() => ({ settings: info.stores[0]?.settings, tokens })}
            picture={() => picture(shown, spans, sources)}
          />
        </div>
        <p class="soft status" role="status">
          {isWriting ? 'Writing…' : phase === 'reading' ? 'Weighing again…' : ''}
        </p>
        <Deviations
          info={info}
          inspection={inspection}
          amend={amend}
          onOpen={(document) => go({ view: 'documents', document })}
        />
        {inspection.alone && prompted > 0 && !isWriting && (
          <Alone
            prompt={ids.slice(0, prompted)}
            sampling={{ ...sampling, length: Math.max(1, tokens.length - prompted) }}
            onClose={() => amend({ alone: undefined })}
          />
        )}
      </section>
      <div class="side">
        <Sources
          sources={sources}
          noted={noted}
          isWriting={isWriting}
          onNote={setNoted}
          onOpen={({ document, store, position }) =>
            go({ view: 'documents', document, store, position })
          }
          onLeaveOut={leaveOut}
        />
      </div>
      {at === undefined ? (
        <aside class="panel is-idle" aria-label="Token">
          <p>
            Pick a word to see its candidates, the passages that voted for it, and what the model
            would have said without them.
          </p>
        </aside>
      ) : (
        <TokenPanel
          info={info}
          inspection={inspection}
          ids={ids}
          at={at}
          token={{ ...tokens[at]!, log_p_lm: Math.log(tokens[at]!.p_lm) }}
          amend={amend}
          go={go}
          onContinue={(id) => completion.write([...ids.slice(0, at), id], sampling)}
        />
      )}
    </div>
  );
}

/** Settings and what is left out stay. */
function promptAgain(inspection: Inspection, tokens: readonly KnnToken[]): Inspection {
  const { ids: _, prompted: __, at: ___, alone: ____, ...rest } = inspection;
  return { ...rest, prompt: textOf(tokens) };
}

/** By the token told: a text that grows is drawn anew at its end only. */
const known = new WeakMap<KnnToken, ShownToken>();

function shownToken(token: KnnToken, isPrompt: boolean): ShownToken {
  const before = known.get(token);
  if (before?.isPrompt === isPrompt) return before;
  const { text, p, p_lm } = token;
  const share = memoryShare(token);
  const shown = { text, p, pLm: p_lm, moved: logRatio(p, p_lm), share, isPrompt };
  known.set(token, shown);
  return shown;
}

/** The prompt was not written from anything: only the completion has sources. */
function completedSources(
  tokens: readonly KnnToken[],
  prompted: number,
): { spans: Span[]; sources: Source[] } {
  const { spans, sources } = sourcesOf(tokens.slice(prompted));
  // Of a prompt that is being read a part is there.
  const from = Math.min(prompted, tokens.length);
  const shift = (t: number): number => t + from;
  const moved = spans.map(({ from, to, note }) => ({ from: shift(from), to: shift(to), note }));
  return {
    spans: from > 0 ? [{ from: 0, to: from, note: 0 }, ...moved] : moved,
    sources: sources.map((source) => ({ ...source, tokens: source.tokens.map(shift) })),
  };
}

const textOf = (tokens: readonly KnnToken[]): string => tokens.map(({ text }) => text).join('');

function picture(
  tokens: readonly ShownToken[],
  spans: readonly Span[],
  sources: readonly Source[],
) {
  return {
    title: 'Written with a memory: tinted by how far it moved each token',
    tokens,
    spans,
    notes: sources.map(
      ({ note, document, share }) => `${note}  ${document}, ${percent(share)} of these words`,
    ),
  };
}
