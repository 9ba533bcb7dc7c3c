/** `knnlm watch`: folders kept in step with a store. */
import { Option } from 'commander';
import { KnnLMError } from '../../errors.ts';
import { watchFolders } from '../../open.ts';
import { defineCommand } from '../command.ts';
import {
  addDocumentOptions,
  addIndexOption,
  addThreadOptions,
  documentOptions,
  number,
} from '../options.ts';
import { watchText } from '../views/watch.ts';
import type { AddCommandOptions } from './add.ts';

interface WatchOptions extends AddCommandOptions {
  once?: boolean;
  settle?: number;
  poll?: number;
  compact: boolean;
}

export const watchCommand = () =>
  defineCommand<WatchOptions, [store: string, folders: string[]]>({
    name: 'watch',
    summary: 'keep a store in step with folders',
    description:
      'Keeps a store in step with folders until it is stopped: new files are read into it, changed ones replace their older ' +
      'text, deleted ones are removed, and renamed ones keep their entries. Started again, it finds what has changed meanwhile ' +
      'and reads only that. Documents from elsewhere stay untouched; so does what is stored of a folder that is gone or of a file ' +
      'that cannot be read. Whoever has the store open goes on undisturbed, and a server takes up every change.',
    examples: [
      ['knnlm watch notes.knn notes/', 'until Ctrl-C'],
      ['knnlm watch notes.knn notes/ --once', 'bring the store in step, and end'],
      ['knnlm watch notes.knn /mnt/share --poll 60', 'a network mount, looked at every minute'],
    ],
    onInterrupt: 'Stopping; what is stored stays. Ctrl-C again ends at once.',
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .argument('<folders...>', 'folders of documents')
        .option('--once', 'end when the store is in step')
        .addOption(
          new Option(
            '--settle <seconds>',
            'how long a file must have rested before it is read, so that none is read half written (default: 2)',
          ).argParser(number({ min: 0.1 })),
        )
        .addOption(
          new Option(
            '--poll <seconds>',
            'look every so many seconds instead of waiting to be told of changes: for network mounts',
          ).argParser(number({ min: 0.1 })),
        )
        .option('--no-compact', 'leave removed documents in the files, however many they become');
      addDocumentOptions(command);
      command
        .optionsGroup('Machine:')
        .option(
          '--model <model>',
          "the store's model, where it lies now: folder, hub id or bundled name (default: as at build)",
        );
      addIndexOption(command, 'when newer entries have become many beside the indexed ones');
      addThreadOptions(command);
    },
    async run([store, folders], options, { screen, signal }) {
      const { once, settle, poll, compact, model, workers, threads, device, index } = options;
      const events = watchFolders(store, folders, {
        once,
        settleMs: settle && settle * 1000,
        pollMs: poll && poll * 1000,
        compact,
        model,
        workers,
        threads,
        device,
        index,
        ...documentOptions(options),
        onProgress: screen.progress,
        onDownload: screen.download,
        onWarning: (message) => screen.warn(message),
        signal,
      });
      for await (const event of events) {
        if (!screen.isJson && event.event === 'skipped') screen.skipped(event);
        else screen.result(event, () => watchText(event, screen.colors));
        if (once && event.event === 'in-step' && event.failed > 0) {
          throw new KnnLMError(
            'INVALID_DOCUMENT',
            `${event.failed} of ${event.files} files could not be read; the store is in step with the others. Mend them, or take them out of the folder.`,
          );
        }
      }
    },
  });
