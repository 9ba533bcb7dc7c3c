/** `knnlm index`: the index that makes a large store quick to search. Loads no model. */
import { InvalidArgumentError, Option } from 'commander';
import { KnnLMError } from '../../errors.ts';
import { isMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { describeIndex } from '../../knnlm/index-folder.ts';
import { indexStore } from '../../knnlm/index-store.ts';
import type { IndexChoice } from '../../knnlm/keep-indexed.ts';
import { indexOnMilvus } from '../../knnlm/milvus-store.ts';
import { defineCommand } from '../command.ts';
import { byteSize, indexChoice, number, positiveInteger } from '../options.ts';
import { indexSummary, milvusSummary } from '../views/index.ts';

interface IndexOptions {
  codes?: string;
  maxError?: number;
  lists?: number;
  memory?: number;
  threads?: number;
  index?: IndexChoice;
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
      ['knnlm index notes.knn --index milvus://db:19530/notes', 'on Milvus'],
    ],
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .addOption(
          new Option(
            '--index <choice>',
            'ivf, or milvus://host:port/collection to search the entries there: token in KNNLM_MILVUS_TOKEN, milvuss:// for TLS, ?index=IVF_SQ8 for an index type of your own (default: what the store has, else ivf)',
          ).argParser(indexPlace),
        )
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
    async run([store], { memory, index, ...options }, { screen, signal }) {
      const request = {
        ...options,
        memoryBytes: memory,
        onProgress: screen.progress,
        onWarning: (message: string) => screen.warn(message),
        signal,
      };
      const { kind } = await describeIndex(store);
      const url = index !== undefined && isMilvusUrl(index) ? index : undefined;
      const isRemote = url !== undefined || (index === undefined && kind === 'milvus');
      if (isRemote && (options.lists ?? options.codes) !== undefined) {
        throw new KnnLMError(
          'INVALID_ARGUMENT',
          `${options.lists === undefined ? '--codes' : '--lists'} is for an index on this machine. Leave it out, or build one: --index ivf`,
        );
      }
      const result = isRemote
        ? await indexOnMilvus(store, { ...request, url })
        : await indexStore(store, request);
      if (!result.reached) {
        screen.warn(
          `no setting keeps the error within the ${options.maxError ?? 'default'} asked for; the most exact one was taken.`,
        );
      }
      screen.result(result, () =>
        result.kind === 'milvus'
          ? milvusSummary(result, screen.colors)
          : indexSummary(result, screen.colors),
      );
    },
  });

function indexPlace(text: string): IndexChoice {
  const choice = indexChoice(text);
  if (choice !== 'auto' && choice !== 'none') return choice;
  throw new InvalidArgumentError('It must be ivf or milvus://host:port/collection.');
}
