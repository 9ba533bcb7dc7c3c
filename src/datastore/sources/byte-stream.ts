/** Files as streams of bytes, unpacked, and of lines: memory stays flat however long they are. */
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { ioError, KnnLMError } from '../../errors.ts';
import { readStream } from '../files.ts';
import type { InputFile } from './input-files.ts';

/** How far a stream has come. */
export interface StreamPosition {
  /** Bytes taken from the file. */
  packed: number;
  /** Bytes given out. */
  unpacked: number;
}

const NEWLINE = 0x0a;

export async function* readChunks(
  file: InputFile,
  position: StreamPosition = { packed: 0, unpacked: 0 },
): AsyncGenerator<Buffer> {
  const stream: Readable = file.format === 'stdin' ? process.stdin : readStream(file.path);
  const gunzip = file.gzip ? createGunzip({ chunkSize: 64 * 1024 }) : undefined;
  // An error of either reaches the one who iterates over the last stream.
  if (gunzip) pipeline(stream, gunzip, () => undefined);
  try {
    for await (const chunk of (gunzip ?? stream) as AsyncIterable<Buffer>) {
      position.unpacked += chunk.length;
      // What has been unpacked so far, not what has been read ahead.
      position.packed = gunzip?.bytesWritten ?? position.unpacked;
      yield chunk;
    }
  } catch (cause) {
    throw readError(file, cause);
  }
}

function readError(file: InputFile, cause: unknown): unknown {
  if (cause instanceof KnnLMError) return cause;
  if ((cause as NodeJS.ErrnoException).code?.startsWith('Z_'))
    return new KnnLMError(
      'INVALID_DOCUMENT',
      `${file.path} is a damaged gzip file: ${(cause as Error).message}. Pack it again, or leave it out.`,
      { cause },
    );
  return ioError('read', file.path, cause);
}

/** All bytes of a file that is one document. Errors: `INVALID_DOCUMENT` when there are more than `limit`. */
export async function readAll(file: InputFile, limit: number): Promise<Buffer> {
  return await gather(readChunks(file), file.path, limit);
}

export async function gather(
  chunks: AsyncIterable<Buffer>,
  source: string,
  limit: number,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let size = 0;
  for await (const chunk of chunks) {
    size += chunk.length;
    if (size > limit) throw tooLong(source, limit);
    parts.push(chunk);
  }
  return parts.length === 1 ? parts[0]! : Buffer.concat(parts, size);
}

export interface Line {
  bytes: Buffer;
  /** From 1. */
  number: number;
  /** Of its first byte, and of the byte after its newline, in the unpacked file. */
  start: number;
  end: number;
}

/** Lines without their newline. Errors: `INVALID_DOCUMENT` for a line longer than `limit`. */
export async function* splitLines(
  chunks: AsyncIterable<Buffer>,
  source: string,
  limit: number,
): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let size = 0;
  let number = 1;
  let start = 0;
  for await (const chunk of chunks) {
    let at = 0;
    for (let newline = chunk.indexOf(NEWLINE); newline >= 0; newline = chunk.indexOf(NEWLINE, at)) {
      parts.push(chunk.subarray(at, newline));
      size += newline - at;
      if (size > limit) throw tooLong(`${source}:${number}`, limit);
      const bytes = parts.length === 1 ? parts[0]! : Buffer.concat(parts, size);
      yield { bytes, number, start, end: start + size + 1 };
      number++;
      start += size + 1;
      parts = [];
      size = 0;
      at = newline + 1;
    }
    parts.push(chunk.subarray(at));
    size += chunk.length - at;
    if (size > limit) throw tooLong(`${source}:${number}`, limit);
  }
  if (size > 0) yield { bytes: Buffer.concat(parts, size), number, start, end: start + size };
}

function tooLong(source: string, limit: number): KnnLMError {
  return new KnnLMError(
    'INVALID_DOCUMENT',
    `${source} is longer than ${limit} bytes, the most one document may have. Split it into documents, one per line of a .jsonl file.`,
  );
}
