/**
 * A text whose tokens can be picked, each tinted by how far memory moved it. One stop for the Tab key; arrow keys go
 * from token to token and from line to line. Long texts are drawn in parts, so that picking a token draws one part anew.
 */
import { memo } from 'preact/compat';
import { useEffect, useRef } from 'preact/hooks';
import type { Span } from '../state/sources.ts';
import { type ShownToken, Token } from './token.tsx';

export interface TokenTextProps {
  label: string;
  tokens: readonly ShownToken[];
  /** Covering all tokens, in order. */
  spans: readonly Span[];
  selected: number | undefined;
  /** Footnote whose spans stand out. */
  noted?: number;
  onSelect: (index: number) => void;
  /** Told of the footnote of the span under the pointer. */
  onNote?: (note: number | undefined) => void;
}

/** Tokens in one part at most. */
const PART = 128;

export function TokenText({ label, tokens, spans, selected, ...props }: TokenTextProps) {
  const box = useRef<HTMLDivElement>(null);
  const parts = cut(spans);
  const current = selected ?? -1;
  useEffect(() => {
    const token = box.current?.querySelector<HTMLElement>('[aria-selected="true"]');
    token?.scrollIntoView({ block: 'nearest' });
  }, [current, current < tokens.length]);
  const pick = (event: Event): void => {
    const token = (event.target as HTMLElement).closest<HTMLElement>('[data-t]');
    if (token) props.onSelect(Number(token.dataset.t));
  };
  const move = (event: KeyboardEvent): void => {
    const focused = (event.target as HTMLElement).dataset.t;
    const at = focused === undefined ? Math.max(0, current) : Number(focused);
    const next = nextToken(event.key, at, tokens.length, box.current!);
    if (next === undefined || event.metaKey || event.ctrlKey || event.altKey) return;
    event.preventDefault();
    // At once, since the next key may come before the next picture.
    box.current!.querySelector<HTMLElement>(`[data-t="${next}"]`)!.focus({ preventScroll: true });
    props.onSelect(next);
  };
  const note = (event: Event): void => {
    const span = (event.target as HTMLElement).closest<HTMLElement>('[data-note]');
    props.onNote?.(span ? Number(span.dataset.note) : undefined);
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
      onFocusIn={props.onNote && note}
      onPointerOver={props.onNote && note}
      onPointerLeave={props.onNote && (() => props.onNote!(undefined))}
    >
      {parts.map((part) => {
        const [from, to] = [part[0]!.from, part.at(-1)!.to];
        return (
          <Part
            key={from}
            spans={part}
            tokens={tokens}
            selected={current >= from && current < to ? current : -1}
            stop={current < 0 ? (from === 0 ? 0 : -1) : current}
            noted={part.some(({ note }) => note === props.noted) ? props.noted : undefined}
          />
        );
      })}
    </div>
  );
}

interface Piece extends Span {
  /** false for a part of a span that goes on in the next. */
  isWhole?: boolean;
}

interface PartProps {
  spans: readonly Piece[];
  tokens: readonly ShownToken[];
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
            {span.isWhole !== false && <sup aria-hidden="true">{span.note}</sup>}
          </span>
        );
      })}
    </>
  ),
  (before, after) =>
    before.selected === after.selected &&
    before.noted === after.noted &&
    isInside(before) === isInside(after) &&
    areSameTokens(before, after) &&
    JSON.stringify(before.spans) === JSON.stringify(after.spans),
);

/** Whether the part holds the stop of the Tab key. */
function isInside({ spans, stop }: PartProps): boolean {
  return stop >= spans[0]!.from && stop < spans.at(-1)!.to;
}

/** A text grows at its end, or is another altogether. */
function areSameTokens(before: PartProps, after: PartProps): boolean {
  const [first, last] = [after.spans[0]!.from, after.spans.at(-1)!.to - 1];
  return before.tokens[first] === after.tokens[first] && before.tokens[last] === after.tokens[last];
}

/** Spans in parts of some 128 tokens; a longer span is split. */
function cut(spans: readonly Span[]): Piece[][] {
  const parts: Piece[][] = [];
  let size = PART;
  for (const span of spans) {
    for (let from = span.from; from < span.to; from += PART) {
      const to = Math.min(span.to, from + PART);
      const piece = { ...span, from, to, ...(to < span.to && { isWhole: false }) };
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

/** Where a key goes from a token; undefined when it is no key for that. */
function nextToken(key: string, at: number, count: number, box: HTMLElement): number | undefined {
  const next: Record<string, () => number> = {
    ArrowRight: () => at + 1,
    ArrowLeft: () => at - 1,
    ArrowDown: () => onNextLine(box, at, 1),
    ArrowUp: () => onNextLine(box, at, -1),
    Home: () => 0,
    End: () => count - 1,
    Enter: () => at,
    ' ': () => at,
  };
  const to = next[key]?.();
  return to === undefined ? undefined : Math.max(0, Math.min(count - 1, to));
}

/** The token below or above; the same one where there is no such line. */
function onNextLine(box: HTMLElement, at: number, step: 1 | -1): number {
  const places = box.querySelectorAll<HTMLElement>('[data-t]');
  const middleOf = (t: number) => {
    const { left, right, top, height } = places[t]!.getBoundingClientRect();
    return { x: (left + right) / 2, y: top + height / 2, height };
  };
  const from = middleOf(at);
  let [best, least] = [at, Number.POSITIVE_INFINITY];
  let line: number | undefined;
  for (let t = at + step; t >= 0 && t < places.length; t += step) {
    const { x, y, height } = middleOf(t);
    if (Math.abs(y - (line ?? from.y)) > height / 2) {
      if (line !== undefined) break;
      line = y;
    }
    if (line === undefined || Math.abs(x - from.x) >= least) continue;
    [best, least] = [t, Math.abs(x - from.x)];
  }
  return best;
}
