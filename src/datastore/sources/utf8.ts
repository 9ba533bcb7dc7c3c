/** Bytes to text, strictly: what is not UTF-8 is found, not papered over. */
import { isUtf8 } from 'node:buffer';
import { KnnLMError } from '../../errors.ts';

/** Why bytes are not text: the file as a whole is of another kind. */
export class NotTextError extends KnnLMError {
  /** Without the file's name. */
  readonly reason: string;

  constructor(source: string, what: string) {
    super('INVALID_DOCUMENT', `${source} ${what}. Convert it to UTF-8 text, or leave it out.`);
    this.reason = what;
  }
}

/**
 * @param where for messages: a file, `file:line`
 * @param offset of the first byte in its file, for messages
 * Errors: `INVALID_DOCUMENT`, with the byte offset
 */
export function decodeUtf8(
  bytes: Buffer,
  where: string,
  options: { invalid?: 'refuse' | 'replace'; offset?: number } = {},
): string {
  const offset = options.offset ?? 0;
  const hasUtf16Mark =
    offset === 0 &&
    ((bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff));
  if (hasUtf16Mark) throw new NotTextError(where, 'is UTF-16');
  const nul = bytes.indexOf(0);
  if (nul >= 0) throw new NotTextError(where, `is binary: byte ${offset + nul} is zero`);
  if (options.invalid !== 'replace' && !isUtf8(bytes)) {
    const bad = firstInvalidByte(bytes);
    throw new KnnLMError(
      'INVALID_DOCUMENT',
      `${where} is not UTF-8: byte ${offset + bad} is 0x${bytes[bad]!.toString(16).padStart(2, '0')}. Convert it, or read it with invalid UTF-8 replaced.`,
    );
  }
  const hasMark = offset === 0 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  return bytes.toString('utf8', hasMark ? 3 : 0);
}

/** Where the first sequence that is not UTF-8 starts. Halving: a valid prefix stays valid up to a cut character. */
export function firstInvalidByte(bytes: Buffer): number {
  let low = 0;
  let high = bytes.length;
  // Invariant: everything before `low` is valid and ends between characters; the bad byte lies in [low, high).
  while (high - low > 64) {
    const middle = characterStart(bytes, low + ((high - low) >>> 1));
    if (middle > low && isUtf8(bytes.subarray(low, middle))) low = middle;
    else if (middle > low) high = middle;
    else break;
  }
  for (let at = low; at < bytes.length; ) {
    const length = [1, 2, 3, 4].find(
      (n) => isUtf8(bytes.subarray(at, at + n)) && at + n <= bytes.length,
    );
    if (length === undefined) return at;
    at += length;
  }
  return -1;
}

/** The last place at or before `at` that is not inside a character, at most three bytes back. */
function characterStart(bytes: Buffer, at: number): number {
  for (let back = 0; back < 4; back++) if ((bytes[at - back]! & 0xc0) !== 0x80) return at - back;
  return at;
}

/** Bytes cut off in the middle of a character lose the part of it. */
export function wholeCharacters(bytes: Buffer): Buffer {
  const start = characterStart(bytes, bytes.length - 1);
  return isUtf8(bytes.subarray(start)) ? bytes : bytes.subarray(0, start);
}
