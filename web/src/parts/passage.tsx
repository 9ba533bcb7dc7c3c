/** A stored context: the text before, the token that followed, the text after. */
import type { Neighbor } from '../../../src/server/wire.ts';
import { visibleToken } from '../state/format.ts';

export function Passage({ neighbor }: { neighbor: Pick<Neighbor, 'before' | 'target' | 'after'> }) {
  const { before, target, after } = neighbor;
  return (
    <blockquote class="passage">
      {flat(before)}
      {/^\s/.test(target) && ' '}
      <mark>{target.trim() === '' ? visibleToken(target) : target.trim()}</mark>
      {flat(after)}
    </blockquote>
  );
}

const flat = (text: string): string => text.replaceAll(/\s*\n\s*/g, ' ');
