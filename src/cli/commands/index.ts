/** `knnlm index`: the index that makes a large store quick to search. Loads no model. */
import { Option } from 'commander';
import { indexStore } from '../../knnlm/index-store.ts';
import { defineCommand } from '../command.ts';
import { byteSize, number, positiveInteger } from '../options.ts';
import { indexSummary } from '../views/index.ts';

interface IndexOptions {
  codes?: string;
  maxError?: number;
  lists?: number;
  memory?: number;
  threads?: number;
}

export const indexCommand = () =>
  defineCommand<IndexOptions, [store: string]>({
    name: 'index',
    summary: 'make a large store quick to search',
    description:
      'Builds an inverted file: keys in lists of near ones, of which a search reads only a few. How many is chosen by ' +
      "measuring, on the store's own keys, how far the mixture's log-probability moves from that of exact search. Worth it " +
      'from some 200,000 entries on; what is added later is searched exactly until the command is run again.',
    examples: [
      ['knnlm index notes.knn', 'with the default error'],
      ['knnlm index notes.knn --max-error 0.002', 'nearer to exact search, and slower'],
      [
        'knnlm index notes.knn --codes pq32',
        'an eighth of the size, keys read for exact distances',
      ],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .addOption(
          new Option(
            '--max-error <nats>',
            'mean change of the log-probability of a token that is allowed (default: 0.005)',
          ).argParser(number({ min: 0 })),
        )
        .option(
          '--codes <name>',
          'how keys are coded: sq8 (8 bits per dimension), or product codes such as pq32 (32 bytes), pq64, pq64x4 (64 times 4 bits) (default: as before, else sq8)',
        )
        .addOption(
          new Option('--lists <n>', 'lists (default: about 4 √entries)').argParser(positiveInteger),
        )
        .addOption(
          new Option('--memory <size>', 'memory to use, such as 2GB (default: 1GB)').argParser(
            byteSize,
          ),
        )
        .addOption(
          new Option('--threads <n>', 'worker threads (default: fits the machine)').argParser(
            positiveInteger,
          ),
        );
    },
    async run([store], { memory, ...options }, { screen, signal }) {
      const result = await indexStore(store, {
        ...options,
        memoryBytes: memory,
        onProgress: screen.progress,
        signal,
      });
      if (!result.reached) {
        screen.warn(
          `no setting keeps the error within the ${options.maxError ?? 'default'} asked for; the most exact one was taken.`,
        );
      }
      screen.result(result, () => indexSummary(result, screen.colors));
    },
  });
