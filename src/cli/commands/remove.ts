/** `knnlm remove`: documents out of a store, at once. Loads no model. */
import { type Command, InvalidArgumentError } from 'commander';
import { removeDocuments } from '../../datastore/remove-documents.ts';
import type { DocumentSelection } from '../../datastore/select-documents.ts';
import { defineCommand } from '../command.ts';
import { collect } from '../options.ts';
import { removalText } from '../views/changes.ts';

interface RemoveOptions {
  glob?: string[];
  metadata?: Record<string, string>;
  hash?: string[];
  dryRun?: boolean;
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
      ['knnlm remove notes.knn --metadata author=Smith', 'by a field of their metadata'],
    ],
    configure,
    async run([store, ids], options, { screen }) {
      const started = performance.now();
      const { dryRun = false } = options;
      const removal = await removeDocuments(store, selectionOf(ids, options), { dryRun });
      const seconds = (performance.now() - started) / 1000;
      screen.result({ ...removal, dryRun, seconds }, () =>
        removalText(removal, { dryRun, store }, screen.colors),
      );
    },
  });

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
    .option('--dry-run', 'only say what would be removed');
}

/** `author=Smith` */
function metadataField(text: string, previous: Record<string, string> = {}) {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be key=value, such as author=Smith.');
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}

const selectionOf = (ids: string[], options: RemoveOptions): DocumentSelection => ({
  ...(ids.length > 0 && { ids }),
  ...(options.glob && { globs: options.glob }),
  ...(options.metadata && { metadata: options.metadata }),
  ...(options.hash && { hashes: options.hash }),
});
