/** What the commands that use a finished store have in common: which stores, which settings, on which machine. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { KnnLM } from '../knnlm/knnlm.ts';
import type { RetrievalRequest } from '../knnlm/types.ts';
import { openKnnLM } from '../open.ts';
import type { Session } from './command.ts';
import {
  addMachineOptions,
  addRetrievalOptions,
  collect,
  type MachineOptions,
  machineOptions,
  metadataField,
  number,
  positiveInteger,
  type RetrievalOptions,
  retrievalSettings,
  share,
} from './options.ts';

/** Which stores, and what of them. */
export interface StoreOptions extends MachineOptions {
  store?: string[];
  exclude?: string[];
}

/** And by which settings. */
export interface MemoryOptions extends StoreOptions, RetrievalOptions {
  storeLambda?: Record<string, number>;
  /** False for --no-gate. */
  gate?: boolean;
  /** True without a weight, false for --no-cache; likewise `adaptive`. */
  cache?: boolean | number;
  pointers?: boolean;
  adaptive?: boolean | number;
  minPointers?: number;
  effort?: number;
  only?: string[];
  metadata?: Record<string, string>;
  onIndexFailure?: 'error' | 'lm';
}

/** `--exclude`, `--store`; call it where the options of retrieval belong. */
export function addStoreOptions(command: Command): Command {
  return command
    .option('--exclude <id>', 'a document not to retrieve from (repeatable)', collect)
    .option('--store <folder>', 'another store to search together with it (repeatable)', collect);
}

/**
 * Everything of retrieval and of the machine, for the commands that use a store's settings.
 * @param forTexts false where no text is read token by token: nothing is remembered or followed there
 */
export function addMemoryOptions(command: Command, { forTexts = true } = {}): Command {
  addRetrievalOptions(command, "default: the store's");
  command.option(
    '--no-gate',
    "weigh neighbors by the store's lambda and temperature though it has a gate (any of the three above does so too)",
  );
  if (forTexts) addAdaptiveOptions(command);
  command.addOption(
    new Option(
      '--effort <share>',
      'of the lists that an inverted file usually reads, the share that a search reads: fewer are quicker and miss some of the neighbors (default: what the store was tuned with, or 1)',
    ).argParser(number({ min: 0, above: true })),
  );
  addStoreOptions(command).option(
    '--store-lambda <name=share>',
    'with several stores, a lambda for each in place of one, by the names of their folders (repeatable)',
    storeLambda,
  );
  command
    .option(
      '--only <pattern>',
      'retrieve from documents whose id matches, such as "letters/**" (repeatable)',
      collect,
    )
    .option(
      '--metadata <key=value>',
      'retrieve from documents with this value in their metadata (repeatable: all must fit)',
      metadataField,
    );
  return addMachineOptions(command);
}

/** What is remembered, followed and skipped, beside the neighbors of each query. */
function addAdaptiveOptions(command: Command): void {
  command
    .addOption(
      new Option(
        '--cache [share]',
        "remember the text read so far as a small store of its own, with this weight where no gate weighs it (default: the store's, where its settings hold)",
      ).argParser(share),
    )
    .option('--no-cache', 'do not')
    .option(
      '--pointers',
      "follow neighbors that agreed with the text: what comes next in their documents is a neighbor of the next token (default: the store's, where its settings hold)",
    )
    .option('--no-pointers', 'do not')
    .addOption(
      new Option(
        '--adaptive [share]',
        'skip about this share of the searches, those that promise least by what the store has learned from tuning; follows pointers (default: as much as costs nothing, where the store has learned that)',
      ).argParser(share),
    )
    .option('--no-adaptive', 'search for every token')
    .addOption(
      new Option(
        '--min-pointers <n>',
        'search only where fewer pointers are left, as RetoMaton does; follows pointers',
      ).argParser(positiveInteger),
    );
}

/** For the commands whose result is of use without the memory too. */
export function addFailureOption(command: Command): Command {
  return command.addOption(
    new Option(
      '--on-index-failure <how>',
      'when the entries are on Milvus and it does not answer: stop with an error, or go on with the model alone (lm) and say so (default: error)',
    ).choices(['error', 'lm']),
  );
}

/** `notes.knn=0.2` */
function storeLambda(text: string, previous: Record<string, number> = {}): Record<string, number> {
  const at = text.lastIndexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be name=share, such as notes.knn=0.2.');
  return { ...previous, [text.slice(0, at)]: share(text.slice(at + 1)) };
}

/** The settings that were given, under the library's names. */
export function memoryRequest(options: MemoryOptions): RetrievalRequest {
  return {
    ...retrievalSettings(options),
    ...(options.gate === false && { gate: false }),
    ...(options.cache !== undefined && {
      cache: typeof options.cache === 'number' ? { lambda: options.cache } : options.cache,
    }),
    ...(options.pointers !== undefined && { pointers: options.pointers }),
    ...(options.adaptive !== undefined && { adaptive: options.adaptive }),
    ...(options.minPointers !== undefined && { minPointers: options.minPointers }),
    ...(options.effort !== undefined && { effort: options.effort }),
    ...(options.onIndexFailure && { onIndexFailure: options.onIndexFailure }),
    ...(options.storeLambda && { lambdas: options.storeLambda }),
    ...((options.only || options.metadata) && {
      documents: { globs: options.only, metadata: options.metadata },
    }),
  };
}

/** Opens the stores, and closes them when `use` has ended. */
export async function withMemory<Result>(
  store: string,
  options: StoreOptions,
  { screen, signal }: Session,
  use: (memory: KnnLM) => Promise<Result>,
): Promise<Result> {
  const memory = await openKnnLM([store, ...(options.store ?? [])], {
    ...machineOptions(options),
    onDownload: screen.download,
    onWarning: (message) => screen.warn(message),
    signal,
  });
  try {
    return await use(memory);
  } finally {
    await memory.close();
  }
}
