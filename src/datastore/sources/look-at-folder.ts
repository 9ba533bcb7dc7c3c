/** A folder as it is now: its files that can be read, and by what each is known again without being read. */
import type { BigIntStats } from 'node:fs';
import { realpath, stat } from 'node:fs/promises';
import { sep } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import { filesInFolder, type InputFile } from './input-files.ts';
import type { Skip } from './source-types.ts';

export interface SeenFile {
  file: InputFile;
  /** Size, times and place on the disk. */
  signature: string;
  /** Since it was last changed, by the file system's clock; below zero where that is ahead of ours. */
  ageMs: number;
  bytes: number;
}

export interface SeenFolder {
  path: string;
  /** Device and inode. */
  identity: string;
  /** In the order of their names. */
  files: SeenFile[];
  /** Subfolders that cannot be listed: nothing is known of what is in them. */
  unlistable: string[];
}

/** Files looked at together. */
const BATCH = 64;

export interface LookAtOptions {
  /** Whether pairs are read, not texts. */
  pairs: boolean;
  /** A folder within it that is passed over. */
  without: string;
  onSkip: (skip: Skip) => void;
}

/**
 * @param folder an absolute path
 * Errors: `IO` when the folder itself cannot be listed, or is none.
 */
export async function lookAtFolder(
  folder: string,
  { pairs, without, onSkip }: LookAtOptions,
): Promise<SeenFolder> {
  const identity = identityOf(await statFolder(folder));
  const unlistable: string[] = [];
  let failure: KnnLMError | undefined;
  const found = await filesInFolder(folder, {
    pairs,
    onSkip: (skip) => isIn(skip.source, without) || onSkip(skip),
    onUnlistable: (path, error) => {
      // The whole folder may not be passed over; a subfolder that is gone holds nothing.
      if (trimmed(path) === folder) failure = error;
      const isGone = (error.cause as NodeJS.ErrnoException)?.code === 'ENOENT';
      if (failure || isGone || isIn(path, without)) return;
      unlistable.push(trimmed(path));
      onSkip({ source: path, reason: error.message });
    },
  });
  if (failure) throw failure;
  const files: SeenFile[] = [];
  const wanted = found.filter(({ path }) => !isIn(path, without));
  for (let at = 0; at < wanted.length; at += BATCH) {
    const seen = await Promise.all(wanted.slice(at, at + BATCH).map(lookAtFile));
    files.push(...seen.filter((one) => one !== undefined));
  }
  return { path: folder, identity, files: await withoutSecondNames(folder, files), unlistable };
}

/** Undefined for one that is gone, or a link that leads nowhere. */
export async function lookAtFile(file: InputFile): Promise<SeenFile | undefined> {
  let info: BigIntStats;
  try {
    info = await stat(file.path, { bigint: true });
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ELOOP') return undefined;
    // Told when it is read, which fails too.
    return { file, signature: `? ${code}`, ageMs: Number.POSITIVE_INFINITY, bytes: 0 };
  }
  const { ino, size, mtimeNs, ctimeNs, mtimeMs, ctimeMs } = info;
  const changed = Math.max(Number(mtimeMs), Number(ctimeMs));
  return {
    file,
    signature: [ino, size, mtimeNs, ctimeNs].join(' '),
    ageMs: Date.now() - changed,
    bytes: Number(size),
  };
}

/** Of a file that can be reached by several names, by links, its own one if that is among them, else the first. */
async function withoutSecondNames(folder: string, files: SeenFile[]): Promise<SeenFile[]> {
  const counts = new Map<string, number>();
  for (const { signature } of files) counts.set(signature, (counts.get(signature) ?? 0) + 1);
  const root = await realpath(folder).catch(() => folder);
  const chosen = new Map<string, SeenFile>();
  const dropped = new Set<SeenFile>();
  for (const seen of files) {
    const { path } = seen.file;
    if (counts.get(seen.signature) === 1) continue;
    const place = await realpath(path).catch(() => path);
    const other = chosen.get(place);
    const isOwn = place === root + path.slice(folder.length);
    if (other) dropped.add(isOwn ? other : seen);
    if (!other || isOwn) chosen.set(place, seen);
  }
  return files.filter((seen) => !dropped.has(seen));
}

async function statFolder(folder: string): Promise<BigIntStats> {
  const info = await stat(folder, { bigint: true }).catch((cause) => {
    throw ioError('look at', folder, cause);
  });
  if (info.isDirectory()) return info;
  throw new KnnLMError('INVALID_ARGUMENT', `${folder} is not a folder. Give the folder it is in.`);
}

const identityOf = ({ dev, ino }: BigIntStats): string => `${dev} ${ino}`;

const trimmed = (path: string): string =>
  path.length > 1 && path.endsWith(sep) ? path.slice(0, -1) : path;

/** Whether a path is a folder or lies in it. */
export const isIn = (path: string, folder: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);
