/** What `search` prints: the next token's candidates, then the stored contexts that voted. */
import type { Candidate, Neighbor, SearchResult } from '../../knnlm/types.ts';
import { count, measure, probability, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad, truncate, width } from '../text.ts';

/** Columns of text around a neighbor's target; wider lines are hard to scan. */
const MOST_COLUMNS = 110;
/** Share of a passage that its target may take; what is around it needs the rest. */
const MOST_TARGET = 0.75;

export function searchText(result: SearchResult, colors: Colors, columns: number): string {
  const room = Math.min(columns, MOST_COLUMNS);
  const { neighbors, settings } = result;
  const query = truncate(oneLine(result.query), room - 12, 'end');
  const lines = [
    `${query} ${colors.bold('[?]')}`,
    '',
    candidateTable(result.candidates, colors),
    '',
    colors.dim(
      `the ${count(neighbors.length)} nearest stored contexts (${settingsText(settings)})`,
    ),
    ...neighbors.map((neighbor, rank) => neighborText(neighbor, rank + 1, colors, room)),
  ];
  return lines.join('\n');
}

export function candidateTable(candidates: readonly Candidate[], colors: Colors): string {
  const texts = candidates.map(({ text }) => truncate(JSON.stringify(oneLine(text)), 24));
  const column = Math.max(10, ...texts.map(width));
  const cells = (values: string[]) => values.map((value) => pad(value, 10, 'left')).join('');
  const head = `${pad('next token', column)}${cells(['mixture', 'model', 'memory'])}`;
  const rows = candidates.map(({ p, pLm, pKnn }, row) => {
    const bar = '━'.repeat(Math.round(p * 24));
    return `${pad(texts[row]!, column)}${cells([p, pLm, pKnn].map(probability))}  ${colors.cyan(bar)}`;
  });
  return [colors.dim(head), ...rows].join('\n');
}

function neighborText(neighbor: Neighbor, rank: number, colors: Colors, room: number): string {
  const { position, distance, weight } = neighbor;
  const head = `${pad(String(rank), 3, 'left')}  ${colors.bold(place(neighbor))} ${colors.dim(
    `at ${count(position)} · distance ${measure(distance)} · weight ${probability(weight)}`,
  )}`;
  return `${head}\n     ${passageLine(neighbor, colors, room - 5)}`;
}

/** The document, and where several stores are open, which of them holds it. */
export function place({ store, document }: { store?: string; document: string }): string {
  return store === undefined ? oneLine(document) : `${oneLine(store)} › ${oneLine(document)}`;
}

/** `…before [target] after…` on one line, the target right of the middle. */
function passageLine(neighbor: Neighbor, colors: Colors, room: number): string {
  const { before, target, after } = cutPassage(neighbor, room - 2);
  const marked = colors.bold(colors.yellow(bracket(target)));
  return `${colors.dim(before)}${marked}${colors.dim(after)}`;
}

/** ` the dose` → ` [the dose]`; a target of spaces alone is bracketed whole. */
export function bracket(text: string): string {
  return text.trim() === '' ? `[${text}]` : text.replace(/^(\s*)(.*?)(\s*)$/s, '$1[$2]$3');
}

export type Passage = Pick<Neighbor, 'before' | 'target' | 'after'>;

/** The passage as safe text of so many columns at most, cut at both ends rather than in the middle. */
export function cutPassage(passage: Passage, columns: number): Passage {
  const before = flat(fromWordStart(passage.before)).trimStart();
  const after = flat(passage.after).trimEnd();
  const target = truncate(flat(passage.target), Math.max(8, Math.floor(columns * MOST_TARGET)));
  const rest = Math.max(2, columns - width(target));
  // Of the rest two fifths go to what follows, more where little precedes.
  const right = truncate(
    /[\p{L}\d,;]$/u.test(after) ? `${after}…` : after,
    Math.max(Math.floor(rest * 0.4), rest - width(before)),
  );
  return { before: truncate(before, rest - width(right), 'end'), target, after: right };
}

/** On one line; paragraphs end in one sign, whatever stands between them. */
function flat(text: string): string {
  return oneLine(text.replace(/\s*\n\s*/g, ' ↵ '));
}

/** Text is kept around a neighbor by tokens. A first token without a space before it goes on a word: that piece is left out. */
function fromWordStart(text: string): string {
  return text.replace(/^[\p{Ll}\d]\S*(?=\s)/u, '…');
}
