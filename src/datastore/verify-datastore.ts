/**
 * Reads every byte of a datastore and compares it with the stored checksums. Repair takes away only what no manifest
 * counts: it can lose nothing that was acknowledged, and damage to what counts is reported, not touched.
 */
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../errors.ts';
import { BLOCK_BYTES, checksumBytes } from './checksummed-file.ts';
import { DocumentTable } from './document-table.ts';
import { DataFile, fileSize, readWhole } from './files.ts';
import { type Manifest, manifestPath, readManifest } from './manifest.ts';
import { sameManifest } from './read-snapshot.ts';
import { isGrowing, type SegmentPart, segmentParts } from './segment.ts';
import { findLeftovers, removeLeftovers } from './store-cleanup.ts';
import { withLock } from './store-lock.ts';

export interface VerifyOptions {
  /** Also remove leftovers of crashed writers and cut off bytes after the end of a file. Takes the lock. Default false. */
  repair?: boolean;
  onProgress?: (progress: VerifyProgress) => void;
  signal?: AbortSignal;
}

export interface VerifyProgress {
  doneBytes: number;
  totalBytes: number;
  /** Of a store on Milvus, once its files are read. */
  doneEntries?: number;
  totalEntries?: number;
}

export interface Verification {
  /** Entries looked up on Milvus, where the store is searched there. */
  entries?: number;
  /** Data files read. */
  files: number;
  bytes: number;
  /** Empty when all is well. */
  problems: { file: string; problem: string }[];
  /** Files and folders that crashed writers left and no manifest counts. They do no harm; the next writer removes them. */
  leftovers: string[];
  /** What repair did, in words. */
  repaired: string[];
}

/**
 * Errors: `STORE_NOT_FOUND`, `STORE_VERSION`, `STORE_CORRUPT` when the manifest itself cannot be read, `ABORTED`;
 * what is wrong with other files is reported in `problems`.
 */
export async function verifyDatastore(
  path: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  for (let manifest = await readManifest(path); !options.repair; ) {
    const result = await verifyFiles(path, manifest, options);
    const now = await readManifest(path);
    // A compaction meanwhile has removed files that this manifest names.
    if (result.problems.length === 0 || sameManifest(now, manifest)) return result;
    manifest = now;
  }
  return await withLock(path, async () => {
    const manifest = await readManifest(path);
    const removed = (await removeLeftovers(path, manifest)).map((left) => `removed ${left}`);
    const cut = await cutTails(path, manifest);
    const result = await verifyFiles(path, manifest, options);
    return { ...result, repaired: [...removed, ...cut] };
  });
}

/** Bytes after the end of a finished file were never acknowledged. @returns what was cut, in words */
async function cutTails(path: string, manifest: Manifest): Promise<string[]> {
  const done: string[] = [];
  for (const segment of manifest.segments) {
    // A growing segment's tail is the next writer's to cut.
    if (isGrowing(manifest, segment)) continue;
    for (const part of segmentParts(path, manifest, segment)) {
      for (const [file, bytes] of [
        [part.path, part.bytes],
        [`${part.path}.crc`, checksumBytes(part.bytes)],
      ] as const) {
        const size = await fileSize(file);
        if (size === undefined || size <= bytes) continue;
        await cutFile(file, bytes);
        done.push(`cut ${size - bytes} bytes off the end of ${file}, which should hold ${bytes}`);
      }
    }
  }
  return done;
}

async function cutFile(path: string, bytes: number): Promise<void> {
  const file = await DataFile.open(path, 'r+');
  try {
    await file.truncate(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function verifyFiles(
  path: string,
  manifest: Manifest,
  options: VerifyOptions,
): Promise<Verification> {
  const parts = manifest.segments.flatMap((segment) =>
    segmentParts(path, manifest, segment).map((part) => ({
      part,
      sealed: !isGrowing(manifest, segment),
    })),
  );
  const totalBytes = parts.reduce((sum, { part }) => sum + part.bytes, 0);
  const result: Verification = {
    files: parts.length,
    bytes: totalBytes,
    problems: [],
    leftovers: await findLeftovers(path, manifest),
    repaired: [],
  };
  let doneBytes = 0;
  const step = (bytes: number): void => {
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The verification was stopped.');
    doneBytes += bytes;
    options.onProgress?.({ doneBytes, totalBytes });
  };
  for (const { part, sealed } of parts) {
    for (const problem of await verifyFile(part, sealed, step))
      result.problems.push({ file: part.path, problem });
  }
  if (result.problems.length === 0) {
    try {
      const table = await DocumentTable.load(path, manifest);
      for (const problem of misplacedDeletions(table, manifest))
        result.problems.push({ file: manifestPath(path), problem });
    } catch (error) {
      if (!(error instanceof KnnLMError)) throw error;
      result.problems.push({ file: path, problem: error.message });
    }
  }
  return result;
}

/** What was deleted is whole documents. */
function misplacedDeletions(table: DocumentTable, manifest: Manifest): string[] {
  const borders = new Set<number>();
  for (let row = 0; row <= table.length; row++) borders.add(table.startOf(row));
  return manifest.deleted
    .filter(([start, end]) => !borders.has(start) || !borders.has(end))
    .map(([start, end]) => `deleted range [${start}, ${end}) is not of whole documents`);
}

async function verifyFile(
  part: SegmentPart,
  sealed: boolean,
  step: (bytes: number) => void,
): Promise<string[]> {
  const size = await fileSize(part.path);
  if (size === undefined) return part.bytes === 0 && !sealed ? [] : ['it is missing'];
  if (sealed ? size !== part.bytes : size < part.bytes)
    return [`it should hold ${part.bytes} bytes but holds ${size}`];
  // The last block of a growing file has no checksum yet.
  const blocks = sealed ? checksumBytes(part.bytes) / 4 : Math.floor(part.bytes / BLOCK_BYTES);
  if (!sealed && blocks === 0) return [];
  if ((await fileSize(`${part.path}.crc`)) === undefined) return ['its checksum file is missing'];
  const stored = await readWhole(`${part.path}.crc`);
  if (sealed ? stored.length !== blocks * 4 : stored.length < blocks * 4)
    return [`its checksum file should hold ${blocks * 4} bytes but holds ${stored.length}`];
  return await verifyBlocks(part, stored, blocks, step);
}

async function verifyBlocks(
  part: SegmentPart,
  stored: Buffer,
  blocks: number,
  step: (bytes: number) => void,
): Promise<string[]> {
  const problems: string[] = [];
  const buffer = Buffer.alloc(BLOCK_BYTES);
  const file = await DataFile.open(part.path, 'r');
  try {
    for (let i = 0; i < blocks; i++) {
      const start = i * BLOCK_BYTES;
      const block = buffer.subarray(0, Math.min(BLOCK_BYTES, part.bytes - start));
      const read = await file.read(block, start);
      if (read < block.length || crc32(block) !== stored.readUInt32LE(i * 4))
        problems.push(`bytes ${start} to ${start + block.length} do not match their checksum`);
      step(block.length);
    }
  } finally {
    await file.close();
  }
  return problems;
}
