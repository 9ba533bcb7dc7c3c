import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JsonBytes } from '../../dist/model/json-bytes.js';
import { type TokenizerJson, TokenTable } from '../../dist/model/token-table.js';
import { outlineTokenizer, TokenizerOutline } from '../../dist/model/tokenizer-outline.js';

const fixture = (name: string) => new URL(`../fixtures/${name}`, import.meta.url);
const files = {
  byte_level: fixture('tokenizers/byte_level.json'),
  unigram: fixture('tokenizers/unigram.json'),
  gpt2: fixture('tokenizers/gpt2.json'),
  wordpiece: fixture('tokenizers/wordpiece.json'),
  large: fixture('tokenizers/large.json'),
  stories260K: fixture('models/stories260K/tokenizer.json'),
  'wiki-mini': new URL('../../models/wiki-mini/tokenizer.json', import.meta.url),
};

describe.each(Object.entries(files))('the outline of %s', (_name, url) => {
  const bytes = readFileSync(url);
  const json = JSON.parse(bytes.toString()) as TokenizerJson;
  const table = new TokenTable(json);
  const outline = new TokenizerOutline(bytes);

  it('says of kind, sizes and tokens what the parsed tokenizer says', () => {
    const { kind, size, textSize } = table;
    expect(outline).toMatchObject({ kind, size, textSize });
    for (const id of [0, 1, 2, size >> 1, textSize - 1, size - 1, size]) {
      expect(outline.text(id)).toBe(table.text(id));
    }
    const contents = ['<s>', '</s>', '<|endoftext|>', 'the', '▁the', 'Ġthe', 'é', '"', 'no such'];
    for (const content of contents) expect(outline.idOf(content)).toBe(table.idOf(content));
  });

  it('is the same however the JSON is spelled', () => {
    const ascii = JSON.stringify(json, null, 1).replace(
      /[\u0080-\uffff]/g,
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`,
    );
    const other = new TokenizerOutline(Buffer.from(ascii));
    expect([other.kind, other.size, other.textSize]).toEqual([
      table.kind,
      table.size,
      table.textSize,
    ]);
    for (const content of ['▁the', 'Ġthe', 'é']) {
      expect(other.idOf(content)).toBe(table.idOf(content));
    }
  });
});

it('an added token takes the place of a piece with its id', () => {
  const json = {
    added_tokens: [{ id: 1, content: '<new>', special: true }],
    model: { vocab: { a: 0, old: 1, b: 2 } },
  };
  const outline = new TokenizerOutline(Buffer.from(JSON.stringify(json)));
  expect(outline.idOf('<new>')).toBe(1);
  expect(outline.idOf('old')).toBeUndefined();
  expect(outline.text(1)).toBe('<new>');
});

describe('JSON walked as bytes', () => {
  const walk = (json: JsonBytes, range: { start: number; end: number }): unknown => {
    const members = [...json.members(range)];
    if (json.isObject(range)) {
      const entries = members.map((m) => [json.parse(m.name) as string, walk(json, m)] as const);
      return Object.fromEntries(entries);
    }
    const elements = [...json.elements(range)];
    if (elements.length > 0) return elements.map((element) => walk(json, element));
    return json.parse(range);
  };

  it('is what JSON.parse makes of it, with any spaces', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(0, 1, '\t', '\n '), (value, space) => {
        const bytes = Buffer.from(` ${JSON.stringify(value, null, space)}\r\n`);
        const json = new JsonBytes(bytes);
        expect(walk(json, json.root)).toEqual(JSON.parse(bytes.toString()));
      }),
    );
  });

  it('cut short anywhere is refused, with the folder and what to do', () => {
    const bytes = readFileSync(files.byte_level);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: bytes.length - 3 }), (length) => {
        expect(() => outlineTokenizer('models/x', bytes.subarray(0, length))).toThrow(
          /models\/x\/tokenizer\.json cannot be read: .*Download the file again|model\.vocab/,
        );
      }),
    );
  });

  it.each(['{"model" 1}', '{"a":1,}', '{model:1}', '[1]', '{"a":1} x', '{"a":"\\"}', ''])(
    'refuses %s',
    (text) => {
      expect(() => outlineTokenizer('x', Buffer.from(text))).toThrow(/cannot be read/);
    },
  );
});
