/** Score: a text under the model alone and under the mixture, every token helped or hurt. */
import { useMemo, useState } from 'preact/hooks';
import type { ScoredToken } from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { CopyButtons } from '../parts/copy-buttons.tsx';
import { Deviations } from '../parts/deviations.tsx';
import { Legend } from '../parts/legend.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import type { ShownToken } from '../parts/token.tsx';
import { TokenText } from '../parts/token-text.tsx';
import { plural } from '../state/format.ts';
import { memoryShare } from '../state/mixture.ts';
import { logRatio } from '../state/moved.ts';
import type { Span } from '../state/sources.ts';
import { TokenPanel } from '../token/token-panel.tsx';
import { Extremes } from './extremes.tsx';
import { Figures } from './figures.tsx';
import { Strip } from './strip.tsx';
import { TextField } from './text-field.tsx';
import { logOf, useScore } from './use-score.ts';

/** A longer text does not fit into an address. */
const LONGEST_LINK = 8000;

export function ScoreView(props: ViewProps) {
  const { info, inspection, amend, go } = props;
  const [long, setLong] = useState('');
  const text = inspection.text ?? long;
  const scoring = useScore(info, inspection, text);
  const { eos } = info.model;
  const shown = useMemo(
    () => scoring.tokens.map((token) => shownToken(token, eos)),
    [scoring.tokens, eos],
  );
  const spans = useMemo<Span[]>(
    () => (shown.length > 0 ? [{ from: 0, to: shown.length, note: 0 }] : []),
    [shown.length],
  );
  const ids = useMemo(() => scoring.tokens.map(({ id }) => id), [scoring.tokens]);
  const at = inspection.at !== undefined && inspection.at < ids.length ? inspection.at : undefined;
  const score = (given: string): void => {
    const fits = given.length <= LONGEST_LINK;
    setLong(fits ? '' : given);
    amend({ text: fits ? given : undefined, at: undefined });
  };
  const select = (index: number): void => amend({ at: index });

  if (text === '') {
    return (
      <div class="opening">
        <h1>How much does memory help with a text?</h1>
        <p class="lead">
          Perplexity with and without memory, and every token that became easier or harder.
        </p>
        <TextField onScore={score} />
      </div>
    );
  }
  return (
    <div class={`inspect is-score${at === undefined ? '' : ' has-token'}`}>
      <section class="reading" aria-label="Scored text">
        <h1 class="visually-hidden">A text with and without memory</h1>
        <Figures scoring={scoring} />
        {shown.length > 0 && <Strip tokens={shown} selected={at} onSelect={select} />}
        <Legend />
        {scoring.error && <ErrorNote error={scoring.error} />}
        {shown.length === 0 && scoring.isRunning && <Waiting what="Reading the text" />}
        <TokenText
          label="Scored text, by tokens"
          tokens={shown}
          spans={spans}
          selected={at}
          onSelect={select}
        />
        <div class="actions">
          <button
            type="button"
            onClick={() => {
              setLong('');
              amend({ text: undefined, at: undefined });
            }}
          >
            Another text
          </button>
          <CopyButtons
            json={() => ({ ...scoring.summary, scored: scoring.tokens })}
            picture={() => ({
              title: 'Tinted by how far memory moved each token',
              tokens: shown,
              spans,
              notes: [],
            })}
            noLink={inspection.text ? undefined : 'The text is too long for a link.'}
          />
        </div>
        <Deviations
          info={info}
          inspection={inspection}
          amend={amend}
          onOpen={(document) => go({ view: 'documents', document })}
        />
        <p class="visually-hidden" role="status">
          {scoring.isRunning ? '' : `${plural(shown.length, 'token')} scored`}
        </p>
      </section>
      {at === undefined ? (
        <Extremes tokens={scoring.tokens} onSelect={select} />
      ) : (
        <TokenPanel
          info={info}
          inspection={inspection}
          ids={ids}
          at={at}
          token={scoring.tokens[at]!}
          amend={amend}
          go={go}
        />
      )}
    </div>
  );
}

/** By the token told: a text that grows is drawn anew at its end only. */
const known = new WeakMap<ScoredToken, ShownToken>();

function shownToken(token: ScoredToken, eos: number): ShownToken {
  const before = known.get(token);
  if (before) return before;
  const { id, text, log_p, log_p_lm, log_p_knn } = token;
  const [p, pLm] = [Math.exp(logOf(log_p)), Math.exp(log_p_lm)];
  const share = memoryShare({ p, p_lm: pLm, p_knn: log_p_knn === null ? 0 : Math.exp(log_p_knn) });
  const isEnd = id === eos && text === '';
  const shown = { text, p, pLm, share, moved: logRatio(p, pLm), ...(isEnd && { isEnd }) };
  known.set(token, shown);
  return shown;
}
