/**
 * A text whose tokens can be picked, each tinted by how far memory moved it. One stop for the Tab key; arrow keys go
 * from token to token. Long texts are drawn in parts, so that picking a token draws one part anew.
 */
import { memo } from 'preact/compat';
import { useEffect, useRef } from 'preact/hooks';
import { percent, visibleToken } from '../state/format.ts';
import { evidenceStep, movedInWords, movedStep } from '../state/moved.ts';
import type { Span } from '../state/sources.ts';

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
}

export interface TokenTextProps {
  label: string;
  tokens: readonly ShownToken[];
  /** Covering all tokens, in order. */
  spans: readonly Span[];
  selected: number | undefined;
  /** Footnote whose spans stand out. */
  noted?: number;
  onSelect: (index: number) => void;
  onNote?: (note: number) => void;
}

/** Tokens in one part at most. */
const PART = 128;

export function TokenText({ label, tokens, spans, selected, ...props }: TokenTextProps) {
  const box = useRef<HTMLDivElement>(null);
  const parts = cut(spans);
  const current = selected ?? -1;
  useEffect(() => {
    const token = box.current?.querySelector<HTMLElement>('[aria-selected="true"]');
    if (token && box.current?.contains(document.activeElement)) token.focus();
  }, [current]);
  const pick = (event: Event): void => {
    const token = (event.target as HTMLElement).closest<HTMLElement>('[data-t]');
    if (token) props.onSelect(Number(token.dataset.t));
  };
  const move = (event: KeyboardEvent): void => {
    const focused = (event.target as HTMLElement).dataset.t;
    const at = focused === undefined ? Math.max(0, current) : Number(focused);
    const next = nextToken(event.key, at, tokens.length);
    if (next === undefined) return;
    event.preventDefault();
    props.onSelect(next);
  };
  return (
    <div
      ref={box}
      class="text"
      role="listbox"
      aria-label={label}
      aria-orientation="horizontal"
      tabIndex={-1}
      onClick={pick}
      onKeyDown={move}
    >
      {parts.map((part) => {
        const [from, to] = [part[0]!.from, part.at(-1)!.to];
        return (
          <Part
            key={from}
            spans={part}
            tokens={tokens}
            version={tokens.length > to ? to : tokens.length}
            selected={current >= from && current < to ? current : -1}
            stop={current < 0 ? (from === 0 ? 0 : -1) : current}
            noted={part.some(({ note }) => note === props.noted) ? props.noted : undefined}
          />
        );
      })}
    </div>
  );
}

interface PartProps {
  spans: readonly Span[];
  tokens: readonly ShownToken[];
  version: number;
  selected: number;
  /** The token that the Tab key stops at. */
  stop: number;
  noted: number | undefined;
}

const Part = memo(
  ({ spans, tokens, selected, stop, noted }: PartProps) => (
    <>
      {spans.map((span) => {
        const inside = [];
        for (let t = span.from; t < span.to; t++) {
          inside.push(
            <Token
              key={t}
              at={t}
              token={tokens[t]!}
              isSelected={t === selected}
              isStop={t === stop}
            />,
          );
        }
        if (span.note === 0) return <span key={span.from}>{inside}</span>;
        return (
          <span
            key={span.from}
            class={`span${span.note === noted ? ' is-noted' : ''}`}
            data-note={span.note}
          >
            {inside}
            <sup aria-hidden="true">{span.note}</sup>
          </span>
        );
      })}
    </>
  ),
  (before, after) =>
    before.tokens === after.tokens &&
    before.selected === after.selected &&
    before.noted === after.noted &&
    before.version === after.version &&
    isInside(before) === isInside(after) &&
    JSON.stringify(before.spans) === JSON.stringify(after.spans),
);

/** Whether the part holds the stop of the Tab key. */
function isInside({ spans, stop }: PartProps): boolean {
  return stop >= spans[0]!.from && stop < spans.at(-1)!.to;
}

interface TokenProps {
  at: number;
  token: ShownToken;
  isSelected: boolean;
  isStop: boolean;
}

function Token({ at, token, isSelected, isStop }: TokenProps) {
  const step = movedStep(token.moved);
  const name = step > 0 ? `up${step}` : step < 0 ? `down${-step}` : 'same';
  const evidence = evidenceStep(token.share);
  const words = `${visibleToken(token.text)}: ${movedInWords(token.moved)}, ${percent(token.pLm)} to ${percent(token.p)}`;
  return (
    <span
      role="option"
      aria-selected={isSelected}
      aria-label={words}
      title={words}
      tabIndex={isStop ? 0 : -1}
      data-t={at}
      class={`tok ${name} e${evidence}${token.isPrompt ? ' is-prompt' : ''}`}
    >
      {token.text === '' ? '∎' : token.text}
    </span>
  );
}

/** Spans in parts of some 128 tokens; a longer span is split. */
function cut(spans: readonly Span[]): Span[][] {
  const parts: Span[][] = [];
  let size = PART;
  for (const span of spans) {
    for (let from = span.from; from < span.to; from += PART) {
      const piece = { ...span, from, to: Math.min(span.to, from + PART) };
      if (size + piece.to - piece.from > PART) {
        parts.push([]);
        size = 0;
      }
      parts.at(-1)!.push(piece);
      size += piece.to - piece.from;
    }
  }
  return parts;
}

function nextToken(key: string, at: number, count: number): number | undefined {
  const next: Record<string, number> = {
    ArrowRight: at + 1,
    ArrowLeft: at - 1,
    ArrowDown: at + 10,
    ArrowUp: at - 10,
    Home: 0,
    End: count - 1,
    Enter: at,
    ' ': at,
  };
  const to = next[key];
  return to === undefined ? undefined : Math.max(0, Math.min(count - 1, to));
}
