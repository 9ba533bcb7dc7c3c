/** One token of a text: its tint, its line, and words for both. */
import { percent, visibleToken } from '../state/format.ts';
import { evidenceStep, movedInWords, movedStep } from '../state/moved.ts';

export interface ShownToken {
  text: string;
  /** log p - log p_LM, nats. */
  moved: number;
  /** Share of its probability that came from the neighbors. */
  share: number;
  /** Under the mixture and the model alone. */
  p: number;
  pLm: number;
  isPrompt?: boolean;
  /** It ends the text. */
  isEnd?: boolean;
}

interface TokenProps {
  at: number;
  token: ShownToken;
  isSelected: boolean;
  isStop: boolean;
}

export function Token({ at, token, isSelected, isStop }: TokenProps) {
  const words = `${visibleToken(token.text)}: ${movedInWords(token.moved)}, ${percent(token.pLm)} to ${percent(token.p)}`;
  return (
    <span
      role="option"
      aria-selected={isSelected}
      aria-label={words}
      title={words}
      tabIndex={isStop ? 0 : -1}
      data-t={at}
      class={`tok ${movedClass(token.moved)} e${evidenceStep(token.share)}${token.isPrompt ? ' is-prompt' : ''}`}
    >
      {inked(token)}
    </span>
  );
}

/** Name of the style for a difference of log-probabilities. */
export function movedClass(moved: number): string {
  const step = movedStep(moved);
  return step > 0 ? `up${step}` : step < 0 ? `down${-step}` : 'same';
}

/** The tint covers what can be seen; the space before a word is the line's, which may end there. */
function inked({ text, isEnd }: ShownToken) {
  if (text === '') return <span class={`ink ${isEnd ? 'is-end' : 'is-part'}`} />;
  const [, gap, ink, rest] = /^( ?)(.*?)(\s*)$/s.exec(text)!;
  if (ink === '' && !text.includes('\n')) return <span class="ink">{text}</span>;
  return (
    <>
      {gap && <span class="gap"> </span>}
      {ink === '' ? <span class="ink is-break" /> : <span class="ink">{ink}</span>}
      {rest}
    </>
  );
}
