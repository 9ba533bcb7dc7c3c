/** A stored context: the text before, the token that followed, the text after, cut at whole words. */
import type { Neighbor } from '../../../src/server/wire.ts';
import { visibleToken } from '../state/format.ts';

/** Tokens of text asked for on either side of a stored context. */
export const AROUND = 16;

export type PassageText = Pick<Neighbor, 'before' | 'target' | 'after' | 'position'>;

export function Passage({ neighbor }: { neighbor: PassageText }) {
  const { before, target, after, position } = neighbor;
  return (
    <blockquote class="passage">
      {position > AROUND ? fromWholeWord(before) : flat(before)}
      {/^\s/.test(target) && ' '}
      <mark>{target.trim() === '' ? visibleToken(target) : target.trim()}</mark>
      {toWholeWord(after)}
    </blockquote>
  );
}

/** The text from its first whole word on, as one line. */
export function fromWholeWord(text: string): string {
  const rest = flat(text).replace(/^\S{1,24}\s/, '');
  return rest.trim() === '' ? '' : `… ${rest.trimStart()}`;
}

/** What ends with a letter is likely to have been cut. */
function toWholeWord(text: string): string {
  const line = flat(text);
  return /[\p{L}\p{N}]$/u.test(line) ? `${line.replace(/\s\S{0,24}$/, '')} …` : line;
}

const flat = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ');
