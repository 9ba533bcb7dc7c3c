/** `knnlm compact`: takes the bytes of removed documents out of a store's files. Loads no model. */
import { compactDatastore } from '../../datastore/compact-datastore.ts';
import { defineCommand } from '../command.ts';
import { compactionText } from '../views/changes.ts';

export const compactCommand = () =>
  defineCommand<object, [store: string]>({
    name: 'compact',
    summary: 'take the bytes of removed documents out of the files',
    description:
      'Rewrites a store as one segment without what was removed or replaced: afterwards no file in it holds a byte of those ' +
      'documents. An index is removed too, since it was made with their keys. Whoever has the store open goes on undisturbed; a crash at ' +
      'any moment leaves the store as it was or as it should be.',
    examples: [['knnlm compact notes.knn', 'rewrite the store']],
    onInterrupt: 'Stopping; the store stays as it was. Ctrl-C again ends at once.',
    configure: (command) => void command.argument('<store>', 'folder of the store'),
    async run([store], _options, { screen, signal }) {
      const started = performance.now();
      const result = await compactDatastore(store, {
        onProgress: ({ doneBytes, totalBytes }) =>
          screen.progress({
            phase: 'compacting',
            done: doneBytes,
            total: totalBytes,
            unit: 'bytes',
          }),
        signal,
      });
      const seconds = (performance.now() - started) / 1000;
      screen.result({ ...result, seconds }, () => compactionText(result, seconds, screen.colors));
    },
  });
