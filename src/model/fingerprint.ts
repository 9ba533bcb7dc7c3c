/**
 * Identity of a model's weights: a sha256 over the graph file and its external data files, in that order.
 *
 * Files up to 256 MiB are hashed whole. Of larger ones, 64 blocks of 1 MiB evenly spaced (the first and last bytes among
 * them) are hashed with the file's size: half a second at most, whatever the size. Weights that were trained, quantized or converted
 * differ nearly everywhere, so blocks tell models apart; they do not prove a file intact (downloads check every byte).
 *
 * Reads synchronously: call it in a worker.
 */
import { createHash, type Hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { ioError } from '../errors.ts';
import type { PairReading } from './pair-reading.ts';

const WHOLE_LIMIT = 256 * 2 ** 20;
const BLOCK_BYTES = 2 ** 20;
const BLOCKS = 64;

export function weightsFingerprint(paths: readonly string[]): string {
  const hash = createHash('sha256');
  const block = Buffer.allocUnsafe(BLOCK_BYTES);
  for (const path of paths) {
    let fd: number | undefined;
    try {
      fd = openSync(path, 'r');
      hashFile(hash, fd, block);
    } catch (cause) {
      throw ioError('read', path, cause);
    } finally {
      if (fd !== undefined) closeSync(fd);
    }
  }
  return hash.digest('hex');
}

function hashFile(hash: Hash, fd: number, block: Buffer): void {
  const { size } = fstatSync(fd);
  hash.update(`${size}\n`);
  const blocks = size <= WHOLE_LIMIT ? Math.ceil(size / BLOCK_BYTES) : BLOCKS;
  // Whole files: blocks lie edge to edge. Larger ones: spread so that the last block ends with the file.
  const step = size <= WHOLE_LIMIT ? BLOCK_BYTES : (size - BLOCK_BYTES) / (BLOCKS - 1);
  for (let i = 0; i < blocks; i++) {
    const start = Math.floor(i * step);
    let filled = 0;
    const wanted = Math.min(BLOCK_BYTES, size - start);
    while (filled < wanted) {
      const read = readSync(fd, block, filled, wanted - filled, start + filled);
      if (read === 0) break;
      filled += read;
    }
    hash.update(block.subarray(0, filled));
  }
}

/** Identity of the tokens: tokenizer.json, which tokens bound a document, and what stands around the texts of a pair. */
export function tokenizerFingerprint(
  tokenizerJson: Uint8Array,
  { bos, eos }: { bos: number; eos: number },
  pairs?: PairReading,
): string {
  const hash = createHash('sha256').update(tokenizerJson).update(`\nbos ${bos} eos ${eos}`);
  if (pairs) {
    const { sourcePrefix = '', sourceStart, sourceEnd, targetStart } = pairs;
    hash.update(`\n${JSON.stringify([sourcePrefix, sourceStart, sourceEnd, targetStart])}`);
  }
  return hash.digest('hex');
}
