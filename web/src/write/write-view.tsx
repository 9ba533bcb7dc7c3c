/** Write: a prompt, the completion as it streams, its sources at the side, and any of its tokens opened. */
import { useMemo, useState } from 'preact/hooks';
import type { KnnToken } from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { CopyButtons } from '../parts/copy-buttons.tsx';
import { Legend } from '../parts/legend.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { type ShownToken, TokenText } from '../parts/token-text.tsx';
import { percent } from '../state/format.ts';
import { memoryShare } from '../state/mixture.ts';
import { logRatio } from '../state/moved.ts';
import { type Source, type Span, sourcesOf } from '../state/sources.ts';
import { TokenPanel } from '../token/token-panel.tsx';
import { Composer } from './composer.tsx';
import { Sources } from './sources.tsx';
import { type Sampling, useCompletion } from './use-completion.ts';

export function WriteView({ info, inspection, amend, go }: ViewProps) {
  const completion = useCompletion(info, inspection, amend);
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
      </div>
    );
  }
  const isWriting = phase === 'writing';
  return (
    <div class={`inspect${at === undefined ? '' : ' has-token'}`}>
      <section class="reading" aria-label="Text">
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
          />
          {isWriting && <span class="caret" aria-hidden="true" />}
        </div>
        {error && <ErrorNote error={error} />}
        <div class="actions">
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
                onClick={() => go({ view: 'write', prompt: textOf(tokens.slice(0, prompted)) })}
              >
                Edit the prompt
              </button>
            </>
          )}
          <CopyButtons
            json={() => ({ settings: info.stores[0]?.settings, tokens })}
            picture={() => picture(shown, spans, sources)}
          />
        </div>
        <p class="soft" role="status">
          {isWriting ? 'Writing…' : phase === 'reading' ? 'Weighing again…' : ''}
        </p>
      </section>
      <Sources
        sources={sources}
        excluded={inspection.exclude ?? []}
        noted={noted}
        isWriting={isWriting}
        onNote={setNoted}
        onOpen={({ document, store, position }) =>
          go({ view: 'documents', document, store, position })
        }
        onLeaveOut={leaveOut}
        onBringBack={(document) =>
          amend({ exclude: inspection.exclude?.filter((name) => name !== document) })
        }
      />
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

function shownToken(token: KnnToken, isPrompt: boolean): ShownToken {
  const { text, p, p_lm } = token;
  return { text, p, pLm: p_lm, moved: logRatio(p, p_lm), share: memoryShare(token), isPrompt };
}

/** The prompt was not written from anything: only the completion has sources. */
function completedSources(
  tokens: readonly KnnToken[],
  prompted: number,
): { spans: Span[]; sources: Source[] } {
  const { spans, sources } = sourcesOf(tokens.slice(prompted));
  const shift = (t: number): number => t + prompted;
  const moved = spans.map(({ from, to, note }) => ({ from: shift(from), to: shift(to), note }));
  return {
    spans: prompted > 0 ? [{ from: 0, to: prompted, note: 0 }, ...moved] : moved,
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
