/** What the commands print that change a store: add, update, remove, compact; and the list of documents. */
import type { Removal } from '../../datastore/remove-documents.ts';
import type { AddResult } from '../../knnlm/build-types.ts';
import type { StoreCompaction } from '../../knnlm/compact-store.ts';
import type { RemovalReceipt } from '../../knnlm/removal-receipt.ts';
import type { DocumentRecord } from '../../knnlm/types.ts';
import { bytes, count, counted, duration, settingsText } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad, truncate } from '../text.ts';
import { facts } from './facts.ts';
import { builtIndexText } from './index.ts';

const SHOWN = 20;
const ID_COLUMNS = 48;

export function addSummary(result: AddResult, store: string, colors: Colors): string {
  const { stored } = result;
  const notes = [
    result.replaced > 0 ? `, ${count(result.replaced)} in place of older ones` : '',
    result.skipped > 0 ? `, ${count(result.skipped)} skipped` : '',
  ].join('');
  return facts(
    [
      ['added', `${counted(result.documents, 'document')}${notes}`],
      ['entries', count(result.entries)],
      [
        'store',
        `${oneLine(store)}: ${counted(stored.documents, 'document')}, ${count(stored.entries)} entries, ${bytes(stored.bytes)}`,
      ],
      ['index', result.index ? `built again, ${builtIndexText(result.index)}` : ''],
      ['settings', result.settings ? `found again: ${settingsText(result.settings)}` : ''],
      ['time', duration(result.seconds)],
    ],
    colors,
  );
}

export function removalText(
  { documents, entries, remaining }: Removal,
  { dryRun, store, compacted }: { dryRun: boolean; store: string; compacted?: boolean },
  colors: Colors,
): string {
  const lines = documents
    .slice(0, SHOWN)
    .map(({ id, length }) => `  ${documentText(id, length, colors)}`);
  const more = documents.length - SHOWN;
  if (more > 0) lines.push(colors.dim(`  … and ${count(more)} more`));
  const verb = dryRun ? 'would be removed' : 'removed';
  lines.push(
    `${counted(documents.length, 'document')} ${verb}, ${count(entries)} entries; ${count(remaining)} are left.`,
  );
  if (!dryRun && !compacted)
    lines.push(
      colors.dim(
        `Nothing of them is retrieved any more. To take their bytes out of the files too: knnlm compact ${oneLine(store)}`,
      ),
    );
  return lines.join('\n');
}

export function receiptText(
  removal: Removal,
  { checks }: RemovalReceipt,
  store: string,
  colors: Colors,
): string {
  const { search, files } = checks;
  const lines = [
    removalText(removal, { dryRun: false, store, compacted: files !== undefined }, colors),
    search.queries === 0
      ? 'Their keys were dropped: there are none to ask with.'
      : `Asked for with ${count(search.queries)} of their own keys: ${count(search.found)} found (${count(search.foundWithoutExclusion)} were they not excluded).`,
  ];
  if (files)
    lines.push(
      `Looked for in ${counted(files.files, 'file')}, ${bytes(files.bytes)}: ${count(files.keysFound)} of ${count(files.keysSearched)} keys and ${count(files.hashesFound)} hashes found.`,
    );
  return lines.join('\n');
}

export function compactionText(result: StoreCompaction, seconds: number, colors: Colors): string {
  if (!result.rewritten) return 'There was nothing to take out.';
  return facts(
    [
      [
        'removed',
        `${counted(result.removedDocuments, 'document')}, ${count(result.removedEntries)} entries: no file holds a byte of them`,
      ],
      ['left', `${counted(result.documents, 'document')}, ${count(result.entries)} entries`],
      ['segments', `${count(result.segments)} made into one`],
      ['index', compactedIndex(result)],
      ['settings', compactedSettings(result)],
      ['time', duration(seconds)],
    ],
    colors,
  );
}

function compactedIndex({ indexRemoved, index }: StoreCompaction): string {
  if (!indexRemoved) return '';
  return index
    ? `built again, ${builtIndexText(index)}`
    : 'removed with the keys it was made of; search is exact. To build one: knnlm index STORE';
}

function compactedSettings({ settings }: StoreCompaction): string {
  if (settings === 'found again') return 'found again without the removed documents';
  if (settings === 'defaults')
    return 'the defaults, since removed documents had a part in the others';
  return settings === undefined ? '' : 'their gate is gone, which removed documents had a part in';
}

export function documentsText(documents: readonly DocumentRecord[], colors: Colors): string {
  return documents.map(({ id, length }) => `  ${documentText(id, length, colors)}`).join('\n');
}

function documentText(id: string, length: number, colors: Colors): string {
  const shown = pad(truncate(oneLine(id), ID_COLUMNS, 'end'), ID_COLUMNS);
  return `${shown}  ${colors.dim(`${pad(count(length), 9, 'left')} entries`)}`;
}
