/** Options that several commands share, and the checks of their values: one line with the value seen, before any work. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { isMilvusUrl, parseMilvusUrl } from '../indexes/milvus/milvus-address.ts';
import type { IndexChoice } from '../knnlm/keep-indexed.ts';
import type { RetrievalSettings } from '../knnlm/types.ts';
import { DEVICES, type Device } from '../model/device.ts';

interface Bounds {
  min?: number;
  max?: number;
  /** min itself is not allowed. */
  above?: boolean;
  integer?: boolean;
}

/** A commander parser for numbers within bounds. `1e3` and `0.5` are numbers; '', `0x10` and `5 tokens` are not. */
export function number(bounds: Bounds): (text: string) => number {
  const { min, max, above, integer } = bounds;
  const kind = integer ? 'a whole number' : 'a number';
  const lower = min === undefined ? '' : above ? ` above ${min}` : ` of ${min} or more`;
  const range = max === undefined ? lower : ` from ${min} to ${max}`;
  return (text) => {
    const value = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim())
      ? Number(text)
      : Number.NaN;
    const fits =
      Number.isFinite(value) &&
      (!integer || Number.isSafeInteger(value)) &&
      (min === undefined || (above ? value > min : value >= min)) &&
      (max === undefined || value <= max);
    if (!fits) throw new InvalidArgumentError(`It must be ${kind}${range}.`);
    return value;
  };
}

export const positiveInteger = number({ min: 1, integer: true });
export const wholeNumber = number({ min: 0, integer: true });
export const share = number({ min: 0, max: 1 });

/** `512MB`, `2GB`, `1.5 GiB` → bytes. */
export function byteSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?$/i.exec(text.trim());
  const bytes = match
    ? Number(match[1]) * (match[3] ? 1024 : 1000) ** ' KMGT'.indexOf(match[2]!.toUpperCase() || ' ')
    : Number.NaN;
  if (!(bytes >= 1)) throw new InvalidArgumentError('It must be a size such as 512MB or 2GB.');
  return Math.floor(bytes);
}

/** Collects the values of an option that may be given more than once. */
export function collect(value: string, previous: string[] = []): string[] {
  return [...previous, value];
}

export interface RetrievalOptions {
  k?: number;
  lambda?: number;
  knnTemperature?: number;
}

/** `--k`, `--lambda`, `--knn-temperature`. */
export function addRetrievalOptions(command: Command, otherwise: string): Command {
  command.optionsGroup('Retrieval:');
  return command
    .addOption(
      new Option('--k <n>', `neighbors per query (${otherwise})`).argParser(positiveInteger),
    )
    .addOption(
      new Option(
        '--lambda <share>',
        `weight of the neighbors, 0 to 1: 0 is the model alone, higher trusts the store more (${otherwise})`,
      ).argParser(share),
    )
    .addOption(
      new Option(
        '--knn-temperature <t>',
        `softmax temperature over squared distances: higher spreads the vote over more neighbors (${otherwise})`,
      ).argParser(number({ min: 0, above: true })),
    );
}

/** Of commands that tune. */
export const withinOption = (): Option =>
  new Option(
    '--within <share>',
    'tune for speed: the quickest settings whose perplexity is within this share of the best, such as 0.02; fewer neighbors, found in fewer lists',
  ).argParser(number({ min: 0 }));

/** The settings that were given, under the library's names. */
export function retrievalSettings(options: RetrievalOptions): Partial<RetrievalSettings> {
  return {
    ...(options.k !== undefined && { k: options.k }),
    ...(options.lambda !== undefined && { lambda: options.lambda }),
    ...(options.knnTemperature !== undefined && { temperature: options.knnTemperature }),
  };
}

export interface DocumentOptions {
  textColumn?: string;
  idColumn?: string;
  invalidUtf8?: 'refuse' | 'replace';
}

/** How documents are read. */
export function addDocumentOptions(command: Command): Command {
  command.optionsGroup('Reading:');
  return command
    .option('--text-column <name>', 'parquet: column with the text (default: text)')
    .option('--id-column <name>', 'parquet: column with the id (default: file and row number)')
    .addOption(
      new Option(
        '--invalid-utf8 <how>',
        'refuse a file that is not UTF-8, or replace its wrong bytes by U+FFFD (default: refuse)',
      ).choices(['refuse', 'replace']),
    );
}

/** What `readDocuments` takes of them. */
export function documentOptions({ textColumn, idColumn, invalidUtf8 }: DocumentOptions) {
  return { textColumn, idColumn, invalidUtf8 };
}

export interface MachineOptions {
  model?: string;
  memory?: number;
  workers?: number;
  threads?: number;
  device?: Device;
}

/** `--model`, `--memory`, `--workers`, `--threads`, for the commands that run a finished store. */
export function addMachineOptions(command: Command): Command {
  command.optionsGroup('Machine:');
  return addThreadOptions(
    command
      .option(
        '--model <model>',
        "the store's model, where it lies now: folder, hub id or bundled name (default: as at build)",
      )
      .addOption(
        new Option(
          '--memory <size>',
          'memory the index may keep its lists or keys in, such as 500MB (default: 2GB)',
        ).argParser(byteSize),
      ),
  );
}

export function addThreadOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--workers <n>',
        'worker threads, each with its own copy of the model (default: fits the machine)',
      ).argParser(positiveInteger),
    )
    .addOption(
      new Option(
        '--threads <n>',
        'threads per worker within the model (default: fits the machine)',
      ).argParser(positiveInteger),
    )
    .addOption(
      new Option(
        '--device <device>',
        'where the model runs; what is not there, or gives other keys, is passed over for the CPU (default: cpu)',
      ).choices(DEVICES),
    );
}

export function indexChoice(text: string): IndexChoice {
  if (text === 'auto' || text === 'ivf' || text === 'none') return text;
  if (!isMilvusUrl(text))
    throw new InvalidArgumentError('It must be auto, ivf, none or milvus://host:port/collection.');
  parseMilvusUrl(text);
  return text;
}

/** @param when it is built by itself */
export function addIndexOption(command: Command, when: string): Command {
  return command.addOption(
    new Option(
      '--index <choice>',
      `auto, ivf, none or milvus://host:port/collection. An inverted file, quicker to search than every key, is built ${when}, always, or not; or the entries are searched on Milvus (token in KNNLM_MILVUS_TOKEN, milvuss:// for TLS) (default: auto)`,
    ).argParser(indexChoice),
  );
}

/** `--values`, where entries may be on Milvus. */
export const valuesOption = (): Option =>
  new Option(
    '--values <place>',
    "of entries on Milvus: whether keys and values stay in the store's folder as well (local), or are left to the collection (remote); then documents can be removed and none added (default: local)",
  ).choices(['local', 'remote']);

/** What `openKnnLM` takes of them. */
export function machineOptions(options: MachineOptions) {
  return {
    model: options.model,
    memoryBytes: options.memory,
    workers: options.workers,
    threads: options.threads,
    device: options.device,
  };
}

/** `author=Smith` */
export function metadataField(text: string, previous: Record<string, string> = {}) {
  const at = text.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It must be key=value, such as author=Smith.');
  return { ...previous, [text.slice(0, at)]: text.slice(at + 1) };
}
