/** `knnlm index`: the index that makes a large store quick to search. Loads a model only to tune after dropping keys. */
import { InvalidArgumentError, Option } from 'commander';
import { KnnLMError } from '../../errors.ts';
import { isMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { describeIndex } from '../../knnlm/index-folder.ts';
import { MAX_ERROR } from '../../knnlm/index-judge.ts';
import type { IndexPlan } from '../../knnlm/index-plan.ts';
import { type IndexStoreResult, indexStore } from '../../knnlm/index-store.ts';
import type { IndexChoice } from '../../knnlm/keep-indexed.ts';
import type { ValuesPlace } from '../../knnlm/milvus/leave-entries.ts';
import { indexOnMilvus } from '../../knnlm/milvus/sync-milvus.ts';
import { retune } from '../../knnlm/retune.ts';
import { storedSettings } from '../../knnlm/used-settings.ts';
import { defineCommand } from '../command.ts';
import { nats } from '../numbers.ts';
import { byteSize, indexChoice, number, positiveInteger, valuesOption } from '../options.ts';
import type { Screen } from '../screen.ts';
import { indexPlanText, indexSummary, milvusSummary } from '../views/index.ts';

interface IndexOptions {
  codes?: string;
  dropKeys?: boolean;
  retune: boolean;
  maxError?: number;
  lists?: number;
  memory?: number;
  threads?: number;
  index?: IndexChoice;
  values?: ValuesPlace;
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
      ['knnlm index notes.knn --drop-keys', 'codes in place of keys: a thirteenth of the size'],
      [
        'knnlm index notes.knn --codes pq32',
        'an eighth of the size, keys read for exact distances',
      ],
      ['knnlm index notes.knn --index milvus://db:19530/notes', 'on Milvus'],
    ],
    onInterrupt:
      'Stopping; the store is left as it was, or without keys and with codes of them all. Ctrl-C again ends at once.',
    configure(command) {
      command
        .argument('<store>', 'folder of the store')
        .addOption(
          new Option(
            '--index <choice>',
            'ivf, or milvus://host:port/collection to search the entries there: token in KNNLM_MILVUS_TOKEN, milvuss:// for TLS, ?index=IVF_SQ8 for an index type of your own (default: what the store has, else ivf)',
          ).argParser(indexPlace),
        )
        .addOption(valuesOption())
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
        .option(
          '--drop-keys',
          'remove the keys when their codes are there: under 40 bytes an entry with pq32, the default then',
        )
        .option(
          '--no-retune',
          'with --drop-keys, keep settings that were found on the store itself with other distances',
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
    async run([store], { memory, index, retune: retunes, ...options }, { screen, signal }) {
      const request = {
        ...options,
        memoryBytes: memory,
        onProgress: screen.progress,
        onWarning: (message: string) => screen.warn(message),
        signal,
      };
      const { kind } = await describeIndex(store).catch(() => ({ kind: 'flat' }));
      const url = index !== undefined && isMilvusUrl(index) ? index : undefined;
      if (url !== undefined || (index === undefined && kind === 'milvus')) {
        checkRemote(options);
        const result = await indexOnMilvus(store, { ...request, url });
        warnOfError(result, options, screen);
        screen.result(result, () => milvusSummary(result, screen.colors));
        return;
      }
      if (options.values === 'remote') {
        throw new KnnLMError(
          'INVALID_ARGUMENT',
          'Keys and values can be left to a collection on Milvus only. Name one: --index milvus://host:port/collection',
        );
      }
      const onIndexPlan = (plan: IndexPlan) => screen.note(indexPlanText(plan, screen.errorColors));
      const result = await indexStore(store, { ...request, onIndexPlan });
      if (options.dropKeys) {
        const settings = retunes ? await newSettings(store, screen, signal) : undefined;
        screen.result({ ...result, retuned: settings }, () =>
          indexSummary(result, screen.colors, settings),
        );
        return;
      }
      warnOfError(result, options, screen);
      screen.result(result, () => indexSummary(result, screen.colors));
    },
  });

function indexPlace(text: string): IndexChoice {
  const choice = indexChoice(text);
  if (choice !== 'auto' && choice !== 'none') return choice;
  throw new InvalidArgumentError('It must be ivf or milvus://host:port/collection.');
}

/** Options that are of an index on this machine only. Errors: `INVALID_ARGUMENT`. */
function checkRemote({
  lists,
  codes,
  dropKeys,
}: Pick<IndexOptions, 'lists' | 'codes' | 'dropKeys'>): void {
  const given = Object.entries({ '--lists': lists, '--codes': codes, '--drop-keys': dropKeys });
  const [stray] = given.find(([, value]) => value !== undefined) ?? [];
  if (stray === undefined) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${stray} is for an index on this machine. Leave it out, or build one: --index ivf`,
  );
}

function warnOfError(
  { reached, error, standardError }: Pick<IndexStoreResult, 'reached' | 'error' | 'standardError'>,
  { maxError = MAX_ERROR }: Pick<IndexOptions, 'maxError'>,
  screen: Screen,
): void {
  if (!reached)
    screen.warn(
      `no setting keeps the error within the ${maxError} asked for; the most exact one was taken.`,
    );
  else if (error > maxError)
    screen.warn(
      `the error, ${nats(error, standardError)}, may be more than the ${maxError} asked for; more lists hardly lower it.`,
    );
}

/** Distances of codes are not those of keys: settings that were found by the store itself are found again. */
async function newSettings(store: string, screen: Screen, signal: AbortSignal) {
  const onProgress = screen.progress;
  try {
    const settings = await retune(store, { onProgress, onDownload: screen.download, signal });
    if (!settings) {
      screen.warn(
        `lambda and temperature stay as they were given or tuned, with other distances. Tune again: knnlm tune ${store} TEXT`,
      );
    }
    return settings && storedSettings(settings);
  } catch (error) {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    screen.warn(`the settings stay as they were: ${error.message}`);
    return undefined;
  }
}
