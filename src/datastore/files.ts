/**
 * Every file operation of the datastore, so that each failure becomes a one-line error, and so that tests can let any
 * of them fail or cut the process off before any of them (`faults.before`).
 */
import { constants, createReadStream } from 'node:fs';
import {
  access,
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
} from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { ioError, KnnLMError } from '../errors.ts';

/** Tests set `before` to throw or to exit: it is told of each operation that changes the disk just before it happens. */
export const faults: { before?: (operation: string, path: string) => void } = {};

async function attempt<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    throw cause instanceof KnnLMError ? cause : ioError(action, path, cause);
  }
}

/** The same, for an operation that changes the disk. */
function change<T>(action: string, path: string, work: () => Promise<T>): Promise<T> {
  return attempt(action, path, () => {
    faults.before?.(action, path);
    return work();
  });
}

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException)?.code;

export type PathKind = 'missing' | 'file' | 'folder' | 'other';

export async function pathKind(path: string): Promise<PathKind> {
  try {
    const info = await stat(path);
    return info.isFile() ? 'file' : info.isDirectory() ? 'folder' : 'other';
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return 'missing';
    throw ioError('look at', path, error);
  }
}

/** Bytes, or undefined when there is no such file. */
export async function fileSize(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw ioError('look at', path, error);
  }
}

export const listFolder = (path: string): Promise<string[]> =>
  attempt('list', path, async () => (await readdir(path)).sort());

/** Errors: `IO` when nothing may be written in the folder. */
export const checkWritable = (folder: string): Promise<void> =>
  attempt('write in', folder, () => access(folder, constants.W_OK));

export async function makeFolder(path: string): Promise<void> {
  await change('make the folder', path, () => mkdir(path, { recursive: true }));
}

/** Absolute, with links followed. */
export const realPath = (path: string): Promise<string> =>
  attempt('look at', path, () => realpath(path));

export const readWhole = (path: string): Promise<Buffer> =>
  attempt('read', path, () => readFile(path));

/** An empty folder. */
export async function removeFolder(path: string): Promise<void> {
  await change('remove', path, () => rmdir(path));
}

export async function removeFile(path: string): Promise<void> {
  await change('remove', path, () => rm(path, { force: true }));
}

export async function renameFile(from: string, to: string): Promise<void> {
  await change('rename', from, () => rename(from, to));
}

/** A small file that must not be there yet. @returns whether it was made: false when the name is taken. */
export async function createExclusively(path: string, text: string): Promise<boolean> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeSynced(temporary, text);
  try {
    // A hard link appears with its content or not at all, and never replaces.
    await change('make', path, () => link(temporary, path));
    return true;
  } catch (error) {
    const cause = (error as KnnLMError).cause;
    if (codeOf(cause) === 'EEXIST') return false;
    // File systems without hard links (exFAT, some network mounts): less exact, still exclusive.
    if (['EPERM', 'ENOTSUP', 'ENOSYS', 'EOPNOTSUPP'].includes(codeOf(cause) ?? ''))
      return await createPlainly(path, text);
    throw error;
  } finally {
    await removeFile(temporary);
  }
}

async function createPlainly(path: string, text: string): Promise<boolean> {
  try {
    await writeSynced(path, text, 'wx');
    return true;
  } catch (error) {
    if (codeOf((error as KnnLMError).cause) === 'EEXIST') return false;
    throw error;
  }
}

/** A second name for a file; fails when the name is taken. */
export async function linkFile(path: string, to: string): Promise<void> {
  await change('link', path, () => link(path, to));
}

async function writeSynced(path: string, text: string, flags = 'w'): Promise<void> {
  const file = await DataFile.open(path, flags);
  try {
    await file.write(Buffer.from(text), 0);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Replaces a file so that after a crash the old or the new one is there, whole. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await writeSynced(`${path}.tmp`, text);
  await renameFile(`${path}.tmp`, path);
  await syncFolder(dirname(path));
}

/** Makes new names in a folder last through a power cut. */
export async function syncFolder(path: string): Promise<void> {
  // Windows cannot open folders and writes names through by itself.
  if (process.platform === 'win32') return;
  await change('sync', path, async () => {
    const handle = await open(path, 'r');
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  });
}

/** Bytes a user may still write where `path` is or will be. */
export async function freeDiskBytes(path: string): Promise<number> {
  let place = resolve(path);
  while ((await pathKind(place)) === 'missing' && dirname(place) !== place) place = dirname(place);
  return await attempt('look at', place, async () => {
    const { bavail, bsize } = await statfs(place);
    return bavail * bsize;
  });
}

/** An open file, read and written at given places. */
export class DataFile {
  readonly path: string;
  readonly #handle: FileHandle;

  private constructor(path: string, handle: FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  /** @param flags as in fs.open: `r`, `r+`, `w`, `wx`, `a+` … */
  static async open(path: string, flags: string): Promise<DataFile> {
    const run = flags === 'r' ? attempt : change;
    return new DataFile(path, await run('open', path, () => open(path, flags)));
  }

  size(): Promise<number> {
    return attempt('look at', this.path, async () => (await this.#handle.stat()).size);
  }

  /** Fills `out` from byte `position` on. @returns bytes read, fewer only at the end of the file */
  async read(out: Uint8Array, position: number): Promise<number> {
    let done = 0;
    while (done < out.length) {
      const { bytesRead } = await attempt('read', this.path, () =>
        this.#handle.read(out, done, out.length - done, position + done),
      );
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return done;
  }

  /** Writes all of `bytes` at byte `position`. */
  async write(bytes: Uint8Array, position: number): Promise<void> {
    let done = 0;
    while (done < bytes.length) {
      const { bytesWritten } = await change('write', this.path, () =>
        this.#handle.write(bytes, done, bytes.length - done, position + done),
      );
      done += bytesWritten;
    }
  }

  truncate(size: number): Promise<void> {
    return change('shorten', this.path, () => this.#handle.truncate(size));
  }

  /** Returns once the disk has everything. */
  sync(): Promise<void> {
    return change('sync', this.path, () => this.#handle.sync());
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

/** A file's bytes in chunks of 64 KiB. Errors come out of the stream as they are. */
export const readStream = (path: string): Readable =>
  createReadStream(path, { highWaterMark: 64 * 1024 });
