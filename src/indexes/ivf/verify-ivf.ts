/** Reads every byte of an inverted file and compares it with its checksums. */
import { closeSync } from 'node:fs';
import { type FileHandle, open, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import type { KeySource } from '../../math/vectors.ts';
import {
  ADDED_FOLDER,
  HEADER_FILE,
  type IvfHeader,
  isSettled,
  NEXT_HEADER_FILE,
  readHeader,
  unindexedSources,
} from './ivf-header.ts';
import { openTable } from './open-table.ts';

export interface VerifyIvfOptions {
  folder: string;
  /** The keys that it should be of, and perhaps newer ones. */
  sources: readonly KeySource[];
  /** d */
  dim: number;
  /** The lists file that has the codes of entries without keys. */
  codes?: string;
  /** Told of bytes as they are read. */
  onBytes?: (bytes: number) => void;
  signal?: AbortSignal;
}

export interface IvfVerification {
  /** Files read: none where there is no index. */
  files: number;
  bytes: number;
  problems: { file: string; problem: string }[];
  /** Files of earlier builds and of some that were killed. */
  leftovers: string[];
}

/** Errors: `ABORTED`, `IO`; what is wrong with the index is reported in `problems`. */
export async function verifyIvf(options: VerifyIvfOptions): Promise<IvfVerification> {
  const { folder, sources, dim, codes } = options;
  const result: IvfVerification = { files: 0, bytes: 0, problems: [], leftovers: [] };
  let header: IvfHeader | undefined;
  let file = join(folder, HEADER_FILE);
  try {
    header = await readHeader(folder, codes);
    const isNext = codes !== undefined && !(await isSettled(folder, codes));
    result.leftovers = await ivfLeftovers(folder, header?.file.name, isNext);
    if (!header) return result;
    result.files = 2;
    result.bytes = header.file.bytes;
    if (!codes) await unindexedSources(header, sources, dim);
    file = join(folder, header.file.name);
    result.problems = (await verifyLists(file, header, options)).map((problem) => ({
      file,
      problem,
    }));
  } catch (error) {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    result.problems.push({ file, problem: error.message });
  }
  return result;
}

/** Errors: those of `openTable`, `ABORTED`. */
async function verifyLists(
  path: string,
  header: IvfHeader,
  { onBytes, signal }: VerifyIvfOptions,
): Promise<string[]> {
  const { handle, offsets, checksums } = openTable(path, header);
  closeSync(handle);
  onBytes?.(offsets[0]!);
  const problems: string[] = [];
  const file = await open(path, 'r').catch((cause) => {
    throw ioError('open', path, cause);
  });
  try {
    for (let l = 0; l < checksums.length; l++) {
      if (signal?.aborted) throw new KnnLMError('ABORTED', 'The verification was stopped.');
      const bytes = await readList(file, path, [offsets[l]!, offsets[l + 1]!]);
      if (crc32(bytes) !== checksums[l]) problems.push(`list ${l} does not match its checksum`);
      onBytes?.(bytes.length);
    }
  } finally {
    await file.close();
  }
  return problems;
}

async function readList(
  file: FileHandle,
  path: string,
  [start, end]: [number, number],
): Promise<Uint8Array> {
  const bytes = Buffer.alloc(end - start);
  try {
    for (let done = 0; done < bytes.length; ) {
      const { bytesRead } = await file.read(bytes, done, bytes.length - done, start + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return bytes;
  } catch (cause) {
    throw ioError('read', path, cause);
  }
}

/** What no header names: of earlier builds, and of some that were killed. */
async function ivfLeftovers(
  folder: string,
  current: string | undefined,
  isNext: boolean,
): Promise<string[]> {
  let names: string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw ioError('read', folder, cause);
  }
  return names
    .filter(
      (name) =>
        name === `${HEADER_FILE}.tmp` ||
        name === `${NEXT_HEADER_FILE}.tmp` ||
        (name === NEXT_HEADER_FILE && !isNext) ||
        name === ADDED_FOLDER ||
        (/^lists-[0-9a-f]+\.bin/.test(name) && name !== current),
    )
    .map((name) => join(folder, name));
}

/** Errors: `IO` */
export async function removeFiles(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await rm(path, { force: true, recursive: true }).catch((cause) => {
      throw ioError('remove', path, cause);
    });
  }
}
