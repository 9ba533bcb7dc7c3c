/** `knnlm compact`: takes the bytes of removed documents out of a store's files. */
import { compactStore } from '../../knnlm/compact-store.ts';
import { defineCommand } from '../command.ts';
import { compactionText } from '../views/changes.ts';

export const compactCommand = () =>
  defineCommand<{ reindex: boolean; tune: boolean; model?: string }, [store: string]>({
    name: 'compact',
    summary: 'take the bytes of removed documents out of the files',
    description:
      'Rewrites a store as one segment without what was removed or replaced: afterwards no file in it holds a byte of those ' +
      'documents. An index goes too, since it was made with their keys, and is built again of those that are left; so do ' +
      'settings that the store had found for itself, and a gate. Whoever ' +
      'has the store open goes on undisturbed; a crash at any moment leaves the store as it was or as it should be.',
    examples: [['knnlm compact notes.knn', 'rewrite the store']],
    onInterrupt:
      'Stopping; the store is left as it was, or compacted and without an index. Ctrl-C again ends at once.',
    configure: (command) =>
      void command
        .argument('<store>', 'folder of the store')
        .option('--no-reindex', 'leave out building the index again: search is exact then')
        .option('--no-tune', 'leave out finding settings again: they are the defaults then')
        .option(
          '--model <model>',
          "the store's model, where it lies now: folder, hub id or bundled name (default: as at build)",
        ),
    async run([store], { reindex, tune, model }, { screen, signal }) {
      const started = performance.now();
      const result = await compactStore(store, {
        reindex,
        selfTune: tune,
        model,
        onIndexProgress: screen.progress,
        onWarning: (message) => screen.warn(message),
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
