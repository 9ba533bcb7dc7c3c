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

/** Everything of retrieval and of the machine, for the commands that use a store's settings. */
export function addMemoryOptions(command: Command): Command {
  addRetrievalOptions(command, "default: the store's");
  command.option(
    '--no-gate',
    "weigh neighbors by the store's lambda and temperature though it has a gate (any of the three above does so too)",
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
