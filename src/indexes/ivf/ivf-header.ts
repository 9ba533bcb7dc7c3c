/**
 * `ivf.json`: what an inverted file is of, how it is searched, and how that was chosen. Written last and replaced whole, so
 * that a half-built index is never seen; its own checksum and those it holds find every changed byte.
 */
import { open, readdir, readFile, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import type { KeyDtype, KeySource } from '../../math/vectors.ts';
import { bytesPerKey } from '../chunk.ts';
import type { Codec } from './codec.ts';

export const HEADER_FILE = 'ivf.json';
/** A header that counts once the datastore says so, and then takes the other's place. */
export const NEXT_HEADER_FILE = 'ivf.next.json';
/** Folder, within the index's, of an index of added keys alone, while they are coded. */
export const ADDED_FOLDER = 'added.tmp';
const FORMAT = 'knnlm-ivf';
/** 2 has product codes. */
const VERSIONS = '1 and 2';
/** Bytes at both ends of the keys that say whether they are still the ones that were indexed. */
const MARK_BYTES = 65536;

/** Keys that were indexed, told without their folder's path: a store may be moved. */
export interface SourceMark {
  name: string;
  dtype: KeyDtype;
  count: number;
  /** Of the first and last bytes. */
  crc32: number;
}

/** How lists are searched. */
export interface IvfSettings {
  /** Lists read per query. More find more and take longer. */
  probes: number;
  /** Neighbors per k compared exactly by their stored keys; 0 takes the distances that the codes give. */
  rerank: number;
  /** Weight of a list's spread beside its centroid's distance when lists are ordered. */
  spreadWeight: number;
}

export interface IvfHeader {
  format: typeof FORMAT;
  version: number;
  dim: number;
  entries: number;
  lists: number;
  sources: SourceMark[];
  /** Length of the code's unit in the keys' own units. */
  unit: number;
  file: { name: string; bytes: number; tableCrc32: number };
  settings: IvfSettings;
  /** What was measured when the settings were chosen. */
  evidence: Record<string, unknown> | null;
  /** Of version 2; without it codes are 8 bits per dimension. */
  codec?: Codec;
}

export const newHeader = (fields: Omit<IvfHeader, 'format' | 'version'>): IvfHeader => ({
  format: FORMAT,
  version: fields.codec ? 2 : 1,
  ...fields,
});

/** What a user is told to do about a broken index. */
export const REBUILD =
  'Build it again: knnlm index STORE (or delete the folder to search without it); where keys were dropped, restore it from a backup';

export function corruptIndex(what: string): KnnLMError {
  return new KnnLMError('STORE_CORRUPT', `${what}. ${REBUILD}.`);
}

/**
 * Undefined when the folder holds no index.
 * @param codes the lists file that the datastore's manifest names, where keys were dropped: then it must be there
 * Errors: `STORE_CORRUPT`, `STORE_VERSION`, `IO`.
 */
export async function readHeader(folder: string, codes?: string): Promise<IvfHeader | undefined> {
  if (codes === undefined) return await readHeaderFile(join(folder, HEADER_FILE));
  for (const name of [HEADER_FILE, NEXT_HEADER_FILE]) {
    const header = await readHeaderFile(join(folder, name));
    if (header?.file.name === codes) return header;
  }
  throw corruptIndex(`${join(folder, HEADER_FILE)} is not of ${codes}, which has the codes`);
}

/** Whether the header in its place is that of these codes. */
export async function isSettled(folder: string, codes: string): Promise<boolean> {
  const current = await readHeaderFile(join(folder, HEADER_FILE)).catch(() => undefined);
  return current?.file.name === codes;
}

/** Brings a change of codes that counts already to its end. Called under the datastore's lock. */
export async function settleHeader(folder: string, codes: string): Promise<void> {
  const next = join(folder, NEXT_HEADER_FILE);
  const header = await readHeader(folder, codes);
  const settled = await isSettled(folder, codes);
  try {
    if (settled) await rm(next, { force: true });
    else await rename(next, join(folder, HEADER_FILE));
    await syncFolder(folder);
  } catch (cause) {
    throw ioError('write', next, cause);
  }
  await removeOtherLists(folder, header!.file.name);
}

async function readHeaderFile(path: string): Promise<IvfHeader | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw ioError('read', path, cause);
  }
  let stored: { crc32?: unknown; header?: IvfHeader };
  try {
    stored = JSON.parse(text) as typeof stored;
  } catch {
    throw corruptIndex(`${path} is not JSON`);
  }
  const header = stored?.header;
  if (header?.format !== FORMAT || stored.crc32 !== crc32(JSON.stringify(header))) {
    throw corruptIndex(`${path} does not match its checksum`);
  }
  if (header.version !== (header.codec ? 2 : 1)) {
    throw new KnnLMError(
      'STORE_VERSION',
      `The index ${path} has format version ${header.version}, this program reads ${VERSIONS}. ${REBUILD}.`,
    );
  }
  const { ivfHeaderSchema, problemOf } = await import('../header-schema.ts');
  const problem = problemOf(ivfHeaderSchema, header);
  if (problem) throw corruptIndex(`${path} is damaged: ${problem}`);
  return header;
}

/** Replaces the header atomically. */
export async function writeHeader(
  folder: string,
  header: IvfHeader,
  name = HEADER_FILE,
): Promise<void> {
  const path = join(folder, name);
  const temporary = `${path}.tmp`;
  try {
    const file = await open(temporary, 'w');
    try {
      await file.writeFile(
        `${JSON.stringify({ crc32: crc32(JSON.stringify(header)), header }, null, 1)}\n`,
      );
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    await syncFolder(folder);
  } catch (cause) {
    throw ioError('write', path, cause);
  }
}

/** Files of earlier indexes and of builds that were killed. A reader that has one open keeps it. */
export async function removeOtherLists(folder: string, name: string): Promise<void> {
  for (const other of await readdir(folder)) {
    if (/^lists-[0-9a-f]+\.bin/.test(other) && other !== name) {
      await rm(join(folder, other), { force: true });
    }
  }
}

/** Makes renames in a folder last. Windows has no such call and needs none. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  await handle.sync().finally(() => handle.close());
}

export function markSources(sources: readonly KeySource[], dim: number): Promise<SourceMark[]> {
  return Promise.all(sources.map((source) => markSource(source, source.count, dim)));
}

async function markSource(source: KeySource, count: number, dim: number): Promise<SourceMark> {
  const { path, dtype, byteOffset } = source;
  const bytes = count * bytesPerKey(dtype, dim);
  const edge = Math.min(bytes, MARK_BYTES);
  try {
    const file = await open(path, 'r');
    try {
      const ends = Buffer.alloc(2 * edge);
      const head = await file.read(ends, 0, edge, byteOffset);
      const tail = await file.read(ends, edge, edge, byteOffset + bytes - edge);
      const sum = crc32(ends.subarray(0, head.bytesRead + tail.bytesRead));
      return { name: join(basename(dirname(path)), basename(path)), dtype, count, crc32: sum };
    } finally {
      await file.close();
    }
  } catch (cause) {
    throw ioError('read', path, cause);
  }
}

/** The keys that came after those indexed. Errors: `STORE_CORRUPT` when the indexed ones are no longer there as they were. */
export async function unindexedSources(
  { sources: marks, entries }: Pick<IvfHeader, 'sources' | 'entries'>,
  sources: readonly KeySource[],
  dim: number,
): Promise<KeySource[]> {
  for (const [i, mark] of marks.entries()) {
    const source = sources[i];
    const found =
      source && source.count >= mark.count ? await markSource(source, mark.count, dim) : undefined;
    const isSame = found && found.dtype === mark.dtype && found.crc32 === mark.crc32;
    if (!isSame) {
      throw corruptIndex(
        `The index is of other keys: ${mark.name} had ${mark.count} when it was built, and now ${found ? 'they differ' : `there are ${source?.count ?? 'none'}`}`,
      );
    }
  }
  let skip = entries;
  const rest: KeySource[] = [];
  for (const source of sources) {
    const indexed = Math.min(skip, source.count);
    skip -= indexed;
    if (indexed === source.count) continue;
    const byteOffset = source.byteOffset + indexed * bytesPerKey(source.dtype, dim);
    rest.push({ ...source, count: source.count - indexed, byteOffset });
  }
  return rest;
}
