/** What `watch` prints: a line for everything that happens. */
import type { WatchEvent } from '../../knnlm/watch/types.ts';
import { count, counted, duration, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine } from '../text.ts';
import { builtIndexText } from './index.ts';

/** Names shown of each kind of change. */
const SHOWN = 5;

/** @param now when it happened */
export function watchText(event: WatchEvent, colors: Colors, now = new Date()): string {
  return `${colors.dim(now.toTimeString().slice(0, 8))}  ${textOf(event, colors)}`;
}

function textOf(event: WatchEvent, colors: Colors): string {
  switch (event.event) {
    case 'watching':
      return `watching ${event.folders.map(oneLine).join(', ')} for ${oneLine(event.store)}`;
    case 'synced':
      return syncedText(event, colors);
    case 'skipped':
      return `skipped ${oneLine(event.source)}: ${oneLine(event.reason)}`;
    case 'waiting':
      return `waiting: ${oneLine(event.reason)}`;
    case 'compacted':
      return `compacted: ${counted(event.removedDocuments, 'removed document')} out of the files, ${counted(event.segments, 'segment')} made into one, ${duration(event.seconds)}`;
    case 'in-step': {
      const { files, failed, documents, entries } = event;
      const unread = failed > 0 ? `, ${count(failed)} not read` : '';
      return `in step: ${counted(files, 'file')}${unread}; the store holds ${counted(documents, 'document')}, ${count(entries)} entries`;
    }
  }
}

function syncedText(event: Extract<WatchEvent, { event: 'synced' }>, colors: Colors): string {
  const { added, updated, moved, removed, entries, seconds, index, settings } = event;
  const targets = new Set(moved.map(({ to }) => to));
  const sources = new Set(moved.map(({ from }) => from));
  const lines = [
    names(
      '+',
      added.filter((id) => !targets.has(id)),
      colors,
    ),
    names('~', updated, colors),
    names(
      '→',
      moved.map(({ from, to }) => `${from} → ${to}`),
      colors,
    ),
    names(
      '−',
      removed.filter((id) => !sources.has(id)),
      colors,
    ),
    index ? `index built again, ${builtIndexText(index)}` : '',
    settings ? `settings found again: ${settingsText(settings)}` : '',
  ];
  const head = `${count(added.length)} new, ${count(updated.length)} changed, ${count(removed.length)} gone; ${count(entries)} entries read, ${duration(seconds)}`;
  return [head, ...lines.filter((line) => line !== '').map((line) => `          ${line}`)].join(
    '\n',
  );
}

function names(sign: string, ids: readonly string[], colors: Colors): string {
  if (ids.length === 0) return '';
  const more = ids.length > SHOWN ? `, … and ${count(ids.length - SHOWN)} more` : '';
  return `${colors.dim(sign)} ${ids.slice(0, SHOWN).map(oneLine).join(', ')}${more}`;
}
