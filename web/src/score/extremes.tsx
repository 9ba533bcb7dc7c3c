/** The tokens that memory helped and hurt the most. */
import { useMemo } from 'preact/hooks';
import type { ScoredToken } from '../../../src/server/wire.ts';
import { fromWholeWord } from '../parts/passage.tsx';
import { percent, visibleToken } from '../state/format.ts';
import { logOf } from './use-score.ts';

const SHOWN = 8;
/** Tokens shown before each. */
const BEFORE = 4;
/** Nats; less is no change worth a line. */
const LEAST = 0.05;

export interface ExtremesProps {
  tokens: readonly ScoredToken[];
  onSelect: (index: number) => void;
}

export function Extremes({ tokens, onSelect }: ExtremesProps) {
  const order = useMemo(
    () =>
      tokens
        .map(({ log_p, log_p_lm }, index) => ({ index, moved: logOf(log_p) - log_p_lm }))
        .sort((a, b) => b.moved - a.moved),
    [tokens],
  );
  const helped = order.slice(0, SHOWN).filter(({ moved }) => moved > LEAST);
  const hurt = order
    .slice(-SHOWN)
    .reverse()
    .filter(({ moved }) => moved < -LEAST);
  const list = (title: string, rows: typeof order, kind: string, none: string) => (
    <section>
      <h2 class="label">{title}</h2>
      {rows.length === 0 && <p class="soft">{none}</p>}
      <ol class="extremes">
        {rows.map(({ index }) => {
          const token = tokens[index]!;
          const [near] = token.neighbors;
          return (
            <li key={index}>
              <button type="button" class="extreme" onClick={() => onSelect(index)}>
                <span class="in-text">
                  {textBefore(tokens, index)}
                  <span class={`tok ink ${kind}`}>{visibleToken(token.text)}</span>
                </span>
                <span class="meta">
                  {percent(Math.exp(token.log_p_lm))} → {percent(Math.exp(logOf(token.log_p)))}
                </span>
                {near && <span class="meta from">{near.document}</span>}
              </button>
            </li>
          );
        })}
      </ol>
    </section>
  );
  return (
    <aside class="panel is-list" aria-label="Most helped and most hurt">
      {list('Helped most', helped, 'up2', 'Memory helped with no token so far.')}
      {list('Hurt most', hurt, 'down2', 'Memory hurt no token so far.')}
    </aside>
  );
}

/** Some words that a token follows. */
function textBefore(tokens: readonly ScoredToken[], index: number): string {
  const texts = tokens.slice(Math.max(0, index - BEFORE), index).map(({ text }) => text);
  const joined = texts.join('');
  const before = index > BEFORE ? fromWholeWord(joined) : joined;
  return before + (/^\s/.test(tokens[index]!.text) ? ' ' : '');
}
