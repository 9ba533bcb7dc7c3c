import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { documentHash } from '../../dist/datastore/hash.js';
import { estimateDocuments } from '../../dist/datastore/sources/estimate-documents.js';
import {
  type ReadDocument,
  type ReadOptions,
  readDocuments,
} from '../../dist/datastore/sources/read-documents.js';
import { temporaryFolder } from './support.ts';

function file(name: string, content: string | Buffer): string {
  const path = join(temporaryFolder(), name);
  writeFileSync(path, content);
  return path;
}

async function readPairs(inputs: string[], { pairs = {}, ...options }: ReadOptions = {}) {
  const documents: ReadDocument[] = [];
  const skips: string[] = [];
  const onSkip = ({ reason }: { reason: string }) => void skips.push(reason);
  for await (const one of readDocuments(inputs, { ...options, pairs, onSkip })) documents.push(one);
  return { documents, skips };
}

const texts = (documents: readonly ReadDocument[]) =>
  documents.map(({ sourceText, text }) => [sourceText, text]);

describe('pairs are read', () => {
  it('from JSON Lines, with ids and metadata, packed or not', async () => {
    const lines = [
      { id: 7, source: 'Guten Tag', target: 'Good day', metadata: { year: 1900 } },
      { source: 'Ja', target: 'Yes', other: 'ignored' },
      { source: ' ', target: 'nothing' },
      { source: 'nichts', target: '' },
    ].map((line) => JSON.stringify(line));
    const path = file('a.jsonl', `${lines.join('\n')}\n`);
    const { documents, skips } = await readPairs([path]);
    expect(documents).toMatchObject([
      { id: '7', sourceText: 'Guten Tag', text: 'Good day', metadata: { year: 1900 } },
      { id: expect.stringMatching(/a\.jsonl#2$/), sourceText: 'Ja', text: 'Yes', textBytes: 3 },
    ]);
    expect(skips).toEqual(['empty source', 'empty target']);
    const packed = await readPairs([file('a.jsonl.gz', gzipSync(lines.join('\r\n')))]);
    expect(texts(packed.documents)).toEqual(texts(documents));
  });

  it('from two columns, whatever ends the lines', async () => {
    const path = file('a.tsv', 'eins\tone\r\n\r\n zwei \ttwo \r\n\tthree\r\n');
    const { documents, skips } = await readPairs([path]);
    expect(texts(documents)).toEqual([
      ['eins', 'one'],
      [' zwei ', 'two '],
    ]);
    expect(documents[1]!.source).toBe(`${path}#3`);
    expect(skips).toEqual(['empty source']);
  });

  it('from two files side by side, of any name', async () => {
    const source = file('train.de', 'eins\n\nzwei\ndrei');
    const target = file('train.en.gz', gzipSync('one\n\ntwo\n\n'));
    const { documents, skips } = await readPairs([source], { pairs: { targets: [target] } });
    expect(texts(documents)).toEqual([
      ['eins', 'one'],
      ['zwei', 'two'],
    ]);
    expect(skips).toEqual(['empty source', 'empty target']);
    expect(documents.at(-1)).toMatchObject({ id: expect.stringMatching(/train\.de#3$/) });
    const estimate = await estimateDocuments([source], { pairs: { targets: [target] } });
    expect(estimate).toMatchObject({ documents: 2, exact: true, fileBytes: 15 });
  });

  it('and known by both texts: two sources may have one target', async () => {
    const { documents } = await readPairs([file('a.tsv', 'ja\tyes\njawohl\tyes\n')]);
    const [one, other] = documents.map(({ hash }) => hash);
    expect(one).toBe(documentHash('yes', 'ja'));
    expect(new Set([one, other, documentHash('yes')]).size).toBe(3);
  });

  it('from folders, which pass over what is no pairs', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'a.tsv'), 'ja\tyes');
    writeFileSync(join(folder, 'notes.txt'), 'text');
    const { documents, skips } = await readPairs([folder]);
    expect(texts(documents)).toEqual([['ja', 'yes']]);
    expect(skips).toEqual([expect.stringMatching(/read are pairs in \.jsonl and \.tsv/)]);
  });
});

describe('refused in one line', () => {
  const failure = async (inputs: string[], options: ReadOptions = {}) => {
    const error = await readPairs(inputs, options).catch((cause) => cause);
    expect(error.name, error.stack).toBe('KnnLMError');
    expect(error.message).not.toContain('\n');
    return error.message as string;
  };

  it.each([
    ['a text', '{"text": "a"}', /"source", "target": string|"source" is missing/],
    ['a number', '{"source": "a", "target": 1}', /"target" is a number/],
    ['no JSON', '{"source": "a', /a\.jsonl:1: expected .*"source": string.*it is not JSON/],
  ])('JSON Lines with %s', async (_what, line, message) => {
    expect(await failure([file('a.jsonl', line)])).toMatch(message);
  });

  it.each([
    ['no tab', 'eins one', /a\.tsv:1: expected a source, a tab and its target.*is no tab/],
    ['three columns', 'a\tb\tc', /there are 3 columns/],
  ])('two columns with %s', async (_what, line, message) => {
    expect(await failure([file('a.tsv', line)])).toMatch(message);
  });

  it('files side by side of which one is longer', async () => {
    const [short, long] = [file('a.de', 'eins\n'), file('a.en', 'one\ntwo\n')];
    expect(await failure([short], { pairs: { targets: [long] } })).toMatch(
      /a\.de has 1 lines and .*a\.en more/,
    );
    expect(await failure([long], { pairs: { targets: [short] } })).toMatch(
      /a\.de has 1 lines and .*a\.en more/,
    );
    expect(await failure([short, long], { pairs: { targets: [short] } })).toMatch(
      /2 files of sources and 1 of targets/,
    );
    expect(await failure([short], { pairs: { targets: ['nowhere'] } })).toMatch(
      /nowhere is not a file/,
    );
  });

  it('another kind of file, half a surrogate pair in a source, bytes that are not UTF-8', async () => {
    expect(await failure([file('a.txt', 'text')])).toMatch(/Give pairs in \.jsonl and \.tsv/);
    const half = file('a.jsonl', '{"source": "\\ud800", "target": "x"}');
    expect(await failure([half])).toMatch(/half of a surrogate pair/);
    const bytes = file('a.tsv', Buffer.from([0x61, 0xff, 0x09, 0x62]));
    expect(await failure([bytes])).toMatch(/a\.tsv:1.*UTF-8/);
    const replaced = await readPairs([bytes], { invalidUtf8: 'replace' });
    expect(texts(replaced.documents)).toEqual([['a\uFFFD', 'b']]);
  });

  it('a pair where texts are read, with the way to read it', async () => {
    const reading = (async () => {
      for await (const _ of readDocuments([file('a.jsonl', '{"source": "a", "target": "b"}')]));
    })();
    await expect(reading).rejects.toThrow(/"text" is missing \(a pair .* with --pairs\)/);
  });
});
