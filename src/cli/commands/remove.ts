/** `knnlm remove`: documents out of a store, at once. Loads no model. */
import { dirname, resolve } from 'node:path';
import type { Command } from 'commander';
import { checkWritable, replaceFile } from '../../datastore/files.ts';
import { removeDocuments } from '../../datastore/remove-documents.ts';
import type { DocumentSelection } from '../../datastore/select-documents.ts';
import { removeFromMilvus } from '../../knnlm/milvus/remove-from-milvus.ts';
import { removeWithReceipt } from '../../knnlm/removal-receipt.ts';
import { defineCommand } from '../command.ts';
import { collect, metadataField } from '../options.ts';
import type { Screen } from '../screen.ts';
import { receiptText, removalText } from '../views/changes.ts';

interface RemoveOptions {
  glob?: string[];
  metadata?: Record<string, string>;
  hash?: string[];
  dryRun?: boolean;
  receipt?: string;
  compact?: boolean;
}

export const removeCommand = () =>
  defineCommand<RemoveOptions, [store: string, ids: string[]]>({
    name: 'remove',
    summary: 'take documents out of a store, at once',
    description:
      'Takes documents out of a store: from the next search on nothing of them is retrieved. Criteria of different kinds ' +
      'narrow each other. Their bytes leave the files with `knnlm compact`.',
    examples: [
      ['knnlm remove notes.knn letters/2019.txt', 'one document, by its id'],
      [
        'knnlm remove notes.knn --glob "letters/**" --dry-run',
        'what a pattern over ids would take',
      ],
      [
        'knnlm remove notes.knn --metadata author=Smith --compact --receipt removed.json',
        'by a field of their metadata, with their bytes, and a record of it',
      ],
    ],
    configure,
    async run([store, ids], options, { screen }) {
      const started = performance.now();
      const { dryRun = false, receipt, compact } = options;
      const selection = selectionOf(ids, options);
      if ((receipt !== undefined || compact) && !dryRun) {
        await removeAndCheck(store, selection, options, screen);
        return;
      }
      const removal = await removeDocuments(store, selection, { dryRun });
      if (!dryRun) await removeFromMilvus(store, { onWarning: (message) => screen.warn(message) });
      const seconds = (performance.now() - started) / 1000;
      screen.result({ ...removal, dryRun, seconds }, () =>
        removalText(removal, { dryRun, store }, screen.colors),
      );
    },
  });

/** Removal that is checked from outside, and written down. */
async function removeAndCheck(
  store: string,
  selection: DocumentSelection,
  { receipt: file, compact }: RemoveOptions,
  screen: Screen,
): Promise<void> {
  // Before anything is removed.
  if (file !== undefined) await checkWritable(dirname(resolve(file)));
  const { removal, receipt } = await removeWithReceipt(store, selection, {
    compact,
    onProgress: ({ doneBytes, totalBytes }) =>
      screen.progress({ phase: 'compacting', done: doneBytes, total: totalBytes, unit: 'bytes' }),
    onIndexProgress: screen.progress,
    onWarning: (message) => screen.warn(message),
  });
  if (file !== undefined) await replaceFile(file, `${JSON.stringify(receipt, null, 2)}\n`);
  screen.result(receipt, () => receiptText(removal, receipt, store, screen.colors));
}

function configure(command: Command): void {
  command
    .argument('<store>', 'folder of the store')
    .argument('[ids...]', 'ids of documents; knnlm info STORE --documents lists them')
    .option(
      '--glob <pattern>',
      'those whose id matches, such as "letters/**" (repeatable)',
      collect,
    )
    .option(
      '--metadata <key=value>',
      'those with this value in their metadata (repeatable: all must fit)',
      metadataField,
    )
    .option('--hash <sha256>', 'those with this sha256 of their text (repeatable)', collect)
    .option('--compact', 'take their bytes out of the files too, and look for them there')
    .option('--receipt <file>', 'write what was removed, and how its absence was checked, as JSON')
    .option('--dry-run', 'only say what would be removed');
}

const selectionOf = (ids: string[], options: RemoveOptions): DocumentSelection => ({
  ...(ids.length > 0 && { ids }),
  ...(options.glob && { globs: options.glob }),
  ...(options.metadata && { metadata: options.metadata }),
  ...(options.hash && { hashes: options.hash }),
});
