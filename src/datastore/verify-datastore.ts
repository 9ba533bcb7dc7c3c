/** Reads every byte of a datastore and compares it with the stored checksums. */
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../errors.ts';
import { BLOCK_BYTES, checksumBytes } from './checksummed-file.ts';
import { DocumentTable } from './document-table.ts';
import { DataFile, fileSize, readWhole } from './files.ts';
import { readManifest } from './manifest.ts';
import { isGrowing, type SegmentPart, segmentParts } from './segment.ts';

export interface VerifyOptions {
  onProgress?: (progress: { doneBytes: number; totalBytes: number }) => void;
  signal?: AbortSignal;
}

export interface Verification {
  /** Data files read. */
  files: number;
  bytes: number;
  /** Empty when all is well. */
  problems: { file: string; problem: string }[];
}

/**
 * Errors: `STORE_NOT_FOUND`, `STORE_VERSION`, `STORE_CORRUPT` when the manifest itself cannot be read, `ABORTED`;
 * what is wrong with other files is reported in `problems`.
 */
export async function verifyDatastore(
  path: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  const manifest = await readManifest(path);
  const parts = manifest.segments.flatMap((segment) =>
    segmentParts(path, manifest, segment).map((part) => ({
      part,
      sealed: !isGrowing(manifest, segment),
    })),
  );
  const totalBytes = parts.reduce((sum, { part }) => sum + part.bytes, 0);
  const result: Verification = { files: parts.length, bytes: totalBytes, problems: [] };
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
      await DocumentTable.load(path, manifest);
    } catch (error) {
      if (!(error instanceof KnnLMError)) throw error;
      result.problems.push({ file: path, problem: error.message });
    }
  }
  return result;
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
