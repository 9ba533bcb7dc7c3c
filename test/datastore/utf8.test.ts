import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  decodeUtf8,
  firstInvalidByte,
  wholeCharacters,
} from '../../dist/datastore/sources/utf8.js';

/** The longest valid prefix by trying all: the slow way. */
function byTrying(bytes: Buffer): number {
  for (let end = bytes.length; end >= 0; end--) {
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, end));
      return end === bytes.length ? -1 : end;
    } catch {
      // Shorter, then.
    }
  }
  return -1;
}

const text = fc.string({ unit: 'binary', maxLength: 150 });

describe('strict UTF-8', () => {
  it('finds the first bad sequence wherever it lies', () => {
    const pieces = fc.array(fc.oneof(text.map(Buffer.from), fc.uint8Array({ maxLength: 4 })), {
      maxLength: 5,
    });
    fc.assert(
      fc.property(pieces, (parts) => {
        const bytes = Buffer.concat(parts);
        expect(firstInvalidByte(bytes)).toBe(byTrying(bytes));
      }),
      { numRuns: 500 },
    );
  });

  it('gives back every text, without its mark, and a cut text up to its last whole character', () => {
    fc.assert(
      fc.property(text, fc.nat(3), (string, cut) => {
        const plain = string.replaceAll('\0', ' ').replace(/^\ufeff/, '');
        expect(decodeUtf8(Buffer.from(plain), 'x')).toBe(plain);
        expect(decodeUtf8(Buffer.from(`\ufeff${plain}`), 'x')).toBe(plain);
        const bytes = Buffer.from(plain);
        const part = wholeCharacters(bytes.subarray(0, Math.max(0, bytes.length - cut)));
        expect(plain.startsWith(decodeUtf8(part, 'x'))).toBe(true);
        expect(bytes.length - part.length).toBeLessThanOrEqual(cut + 3);
      }),
    );
  });
});
