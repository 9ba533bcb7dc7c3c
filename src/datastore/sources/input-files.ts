/**
 * Which files the user means: files, folders (recursive), globs and `-`, in a stable order, with the ids their
 * documents get. Inside folders and globs files of other kinds are skipped; named explicitly they are refused.
 *
 * Ids: relative to the folder or to the glob's fixed part; a file named explicitly keeps its path as typed. Always with
 * forward slashes, so a store built on Windows has the same ids.
 */
import { type Dirent, readdir } from 'node:fs';
import { isAbsolute, join, normalize, sep } from 'node:path';
import { glob, isDynamicPattern } from 'tinyglobby';
import { ioError, KnnLMError } from '../../errors.ts';
import { pathKind, realPath } from '../files.ts';
import type { ReadContext, Skip } from './source-types.ts';

/** `lines` has a source on each line, and its targets in a file beside it. */
export type SourceFormat = 'text' | 'html' | 'jsonl' | 'parquet' | 'tsv' | 'lines' | 'stdin';

export interface InputFile {
  /** To open, as the user would write it; `stdin` for `-`. */
  path: string;
  /** Id of the file's document, or what its documents' ids start with. */
  id: string;
  format: SourceFormat;
  gzip: boolean;
  /** Named by the user, not found in a folder or by a glob: then it is refused rather than skipped. */
  explicit: boolean;
  /** Of a file of sources: that of their targets. */
  targets?: InputFile;
}

/** What is read, by the end of a file's name. */
interface Kinds {
  formats: Readonly<Record<string, SourceFormat>>;
  supported: string;
}

const TEXTS: Kinds = {
  formats: {
    txt: 'text',
    md: 'text',
    html: 'html',
    htm: 'html',
    jsonl: 'jsonl',
    parquet: 'parquet',
  },
  supported: '.txt, .md, .html, .jsonl (each also .gz) and .parquet',
};
const PAIRS: Kinds = {
  formats: { jsonl: 'jsonl', tsv: 'tsv' },
  supported: 'pairs in .jsonl and .tsv (each also .gz)',
};

/** Errors: `INVALID_ARGUMENT` for what is not there or cannot be read, `INVALID_DOCUMENT` for two files with one id. */
export async function listInputFiles(
  inputs: readonly string[],
  { settings: { pairs }, onSkip }: ReadContext,
): Promise<InputFile[]> {
  if (inputs.length === 0)
    throw new KnnLMError('NO_DOCUMENTS', 'No documents were named. Give files, folders or globs.');
  if (pairs?.targets) return await parallelFiles(inputs, pairs.targets);
  const kinds = pairs ? PAIRS : TEXTS;
  const files: InputFile[] = [];
  // Links followed: overlapping inputs and folders that link to themselves give every file once.
  const seenPaths = new Set<string>();
  const seenIds = new Map<string, string>();
  for (const input of inputs) {
    for (const file of await filesOf(input, kinds, onSkip)) {
      const place = file.format === 'stdin' ? '-' : await realPath(file.path);
      if (seenPaths.has(place)) continue;
      seenPaths.add(place);
      checkId(file, seenIds);
      files.push(file);
    }
  }
  return files;
}

/** A file of sources and one of targets each, of any name. */
async function parallelFiles(
  sources: readonly string[],
  targets: readonly string[],
): Promise<InputFile[]> {
  if (sources.length !== targets.length) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `There are ${sources.length} files of sources and ${targets.length} of targets. Give one of targets for each.`,
    );
  }
  const open = async (path: string): Promise<InputFile> => {
    if ((await pathKind(path)) !== 'file')
      throw new KnnLMError('INVALID_ARGUMENT', `${path} is not a file. Check the path.`);
    const gzip = path.endsWith('.gz');
    return { path, id: slashes(normalize(path)), format: 'lines', gzip, explicit: true };
  };
  const pairs = sources.map(async (path, i) => ({
    ...(await open(path)),
    targets: await open(targets[i]!),
  }));
  return await Promise.all(pairs);
}

async function filesOf(
  input: string,
  kinds: Kinds,
  onSkip: (skip: Skip) => void,
): Promise<InputFile[]> {
  if (input === '-')
    return [{ path: 'stdin', id: 'stdin', format: 'stdin', gzip: false, explicit: true }];
  const kind = await pathKind(input);
  if (kind === 'file') return [explicitFile(input, kinds)];
  // A pipe or a device, such as /dev/stdin or a shell's <(...).
  if (kind === 'other')
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${input} is not a regular file. Pipe it in and name the input -.`,
    );
  if (kind === 'folder') return await matchingFiles(input, '**/*', { kinds, onSkip });
  if (!isDynamicPattern(input))
    throw new KnnLMError('INVALID_ARGUMENT', `${input} does not exist. Check the path.`);
  const [base, pattern] = splitPattern(slashes(input));
  const files = await matchingFiles(base, pattern, { kinds, onSkip });
  if (files.length === 0)
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${input} matches no file that can be read (${kinds.supported}). Check the pattern.`,
    );
  return files;
}

function explicitFile(path: string, kinds: Kinds): InputFile {
  const format = formatOf(path, kinds);
  if (!format)
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${path} is of a kind that cannot be read. Give ${kinds.supported}.`,
    );
  return { path, id: slashes(normalize(path)), ...format, explicit: true };
}

interface ListOptions {
  onSkip: (skip: Skip) => void;
  /** Told of each subfolder that cannot be listed, which is an error otherwise. */
  onUnlistable?: (path: string, error: KnnLMError) => void;
}

/** Those of a folder, as when the folder is named. @param options.pairs whether pairs are read, not texts */
export const filesInFolder = (
  folder: string,
  { pairs, ...options }: ListOptions & { pairs: boolean },
): Promise<InputFile[]> =>
  matchingFiles(folder, '**/*', { ...options, kinds: pairs ? PAIRS : TEXTS });

/** Files of a folder in the order of their names' code units, whatever the locale. */
async function matchingFiles(
  folder: string,
  pattern: string,
  { kinds, onSkip, onUnlistable }: ListOptions & { kinds: Kinds },
): Promise<InputFile[]> {
  const names = await matchingNames(folder, pattern, onUnlistable);
  const files: InputFile[] = [];
  for (const name of names.sort((a, b) => (a < b ? -1 : 1))) {
    const path = join(folder, name);
    const format = formatOf(name, kinds);
    if (format) files.push({ path, id: slashes(name), ...format, explicit: false });
    else onSkip({ source: path, reason: `unknown kind of file; read are ${kinds.supported}` });
  }
  return files;
}

/** Errors: `IO` for a subfolder that cannot be listed, which the library would pass over in silence. */
async function matchingNames(
  folder: string,
  pattern: string,
  onUnlistable?: (path: string, error: KnnLMError) => void,
): Promise<string[]> {
  let failed: KnnLMError | undefined;
  const list = ((path: string, options: { withFileTypes: true }, done: ListDone) =>
    readdir(path, options, (cause, entries) => {
      if (cause) {
        const error = ioError('list', path, cause);
        if (onUnlistable) onUnlistable(path, error);
        else failed ??= error;
      }
      done(cause, entries);
    })) as typeof readdir;
  const names = await glob(pattern, {
    cwd: folder,
    expandDirectories: false,
    fs: { readdir: list },
  });
  if (failed) throw failed;
  return names;
}

type ListDone = (error: NodeJS.ErrnoException | null, entries: Dirent[]) => void;

/** Whether a file's name is of a kind that is read. */
export const isReadable = (path: string, { pairs }: { pairs: boolean }): boolean =>
  formatOf(path, pairs ? PAIRS : TEXTS) !== undefined;

function formatOf(
  path: string,
  { formats }: Kinds,
): { format: SourceFormat; gzip: boolean } | undefined {
  const [, extension, gz] = /\.([a-z]+)(\.gz)?$/i.exec(path) ?? [];
  const format = formats[extension?.toLowerCase() ?? ''];
  if (!format || (gz && format === 'parquet')) return undefined;
  return { format, gzip: gz !== undefined };
}

/** `docs/2020/*.txt` → `docs/2020` and `*.txt`. */
function splitPattern(pattern: string): [base: string, rest: string] {
  const parts = pattern.split('/');
  const dynamic = parts.findIndex((part) => isDynamicPattern(part));
  const base = parts.slice(0, dynamic).join('/');
  return [base || (isAbsolute(pattern) ? '/' : '.'), parts.slice(dynamic).join('/')];
}

const slashes = (path: string): string => (sep === '/' ? path : path.replaceAll(sep, '/'));

/** Files of many documents usually bring ids of their own; there the writer sees collisions. */
function checkId({ id, path, format }: InputFile, seen: Map<string, string>): void {
  if (format !== 'text' && format !== 'html' && format !== 'stdin') return;
  const other = seen.get(id);
  if (other !== undefined)
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `${other} and ${path} would both get the id ${JSON.stringify(id)}. Give the folder above both.`,
    );
  seen.set(id, path);
}
