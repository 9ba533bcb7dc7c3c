import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  bytes,
  change,
  counted,
  duration,
  measure,
  percent,
  probability,
} from '../../dist/cli/numbers.js';
import { oneLine, pad, sanitize, toJson, truncate, width } from '../../dist/cli/text.js';

// biome-ignore lint/suspicious/noControlCharactersInRegex: what must never reach a terminal
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;

describe('text from documents', () => {
  it('shows an escape sequence instead of obeying it', () => {
    expect(sanitize('a\x1b[31mred\x1b]0;title\x07')).toBe('a␛[31mred␛]0;title␇');
    expect(sanitize('\x9b2J and \u202eevil')).toBe('\ufffd2J and \ufffdevil');
  });

  it('keeps lines and tabs, drops carriage returns', () => {
    expect(sanitize('a\r\nb\tc')).toBe('a\nb\tc');
    expect(oneLine('a\r\nb\tc')).toBe('a↵b c');
  });

  it('holds no control character, whatever the document holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        return !CONTROL.test(sanitize(text)) && !/[\n\t]/.test(oneLine(text));
      }),
    );
  });

  it('is cut to the columns given, wide characters counted as two', () => {
    expect(truncate('abcdef', 4)).toBe('abc…');
    expect(truncate('abcdef', 4, 'end')).toBe('…def');
    expect(truncate('日本語です', 5)).toBe('日本…');
    expect(pad('日本', 6)).toBe('日本  ');
    fc.assert(
      fc.property(
        fc.string({ unit: 'grapheme' }),
        fc.integer({ min: 1, max: 40 }),
        (text, columns) => {
          expect(width(truncate(oneLine(text), columns))).toBeLessThanOrEqual(columns);
        },
      ),
    );
  });
});

describe('JSON', () => {
  it('has no raw control character and reads back as the same value', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const json = toJson({ text });
        return !CONTROL.test(json) && JSON.parse(json).text === text;
      }),
    );
  });
});

describe('numbers', () => {
  it('read as people write them', () => {
    expect([0, 999, 1000, 1_234_567, 99_949_999, 5e12].map(bytes)).toEqual([
      '0 B',
      '999 B',
      '1.0 kB',
      '1.2 MB',
      '99.9 MB',
      '5.0 TB',
    ]);
    expect([0.123, 3.21, 59.4, 185, 7860].map(duration)).toEqual([
      '0.12 s',
      '3.2 s',
      '59 s',
      '3 min 05 s',
      '2 h 11 min',
    ]);
    expect([0, 1e-40, 2.4e-7, 0.00123, 0.0456, 0.5].map(probability)).toEqual([
      '0',
      '<1e-9',
      '2e-7',
      '0.0012',
      '0.046',
      '0.50',
    ]);
    expect([2.0123, 40.78, 12345, Number.POSITIVE_INFINITY].map(measure)).toEqual([
      '2.012',
      '40.78',
      '12,345',
      '∞',
    ]);
    expect([change(0.5), change(1.25), percent(0.4213)]).toEqual(['−50.0%', '+25.0%', '42.1%']);
    expect([counted(1, 'document'), counted(1200, 'token')]).toEqual([
      '1 document',
      '1,200 tokens',
    ]);
  });
});
