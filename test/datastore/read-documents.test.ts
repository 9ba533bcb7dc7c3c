import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
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

const parquet = fileURLToPath(new URL('../fixtures/parquet/', import.meta.url));

/** A folder with the given files. */
function corpus(files: Record<string, string | Buffer>): string {
  const folder = temporaryFolder();
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(join(folder, name, '..'), { recursive: true });
    writeFileSync(join(folder, name), content);
  }
  return folder;
}

async function readAll(inputs: string | string[], options: ReadOptions = {}) {
  const documents: ReadDocument[] = [];
  const skips: { source: string; reason: string }[] = [];
  const onSkip = (skip: { source: string; reason: string }) => void skips.push(skip);
  for await (const document of readDocuments([inputs].flat(), { onSkip, ...options }))
    documents.push(document);
  return { documents, skips };
}

const ids = (documents: readonly { id: string }[]) => documents.map(({ id }) => id);

describe('reading documents', () => {
  it('reads a folder in one order, with ids relative to it and a hash of each text', async () => {
    const folder = corpus({
      'b.txt': 'bee',
      'a/z.md': '# zed',
      'a/B.txt.gz': gzipSync('packed'),
      'ä.txt': 'ae',
      '.git/x.txt': 'hidden',
      'picture.png': 'x',
    });
    const { documents, skips } = await readAll(folder);
    expect(ids(documents)).toEqual(['a/B.txt.gz', 'a/z.md', 'b.txt', 'ä.txt']);
    expect(documents.map(({ text }) => text)).toEqual(['packed', '# zed', 'bee', 'ae']);
    expect(documents[0]).toMatchObject({
      source: join(folder, 'a/B.txt.gz'),
      hash: documentHash('packed'),
      textBytes: 6,
    });
    expect(documents[3]!.readBytes).toBe(gzipSync('packed').length + 5 + 3 + 2);
    expect(skips).toEqual([
      { source: join(folder, 'picture.png'), reason: expect.stringContaining('unknown kind') },
    ]);
  });

  it('expands globs from their fixed part and reads a file once', async () => {
    const folder = corpus({ 'x/a.txt': '1', 'x/y/b.txt': '2', 'x/y/c.md': '3', 'x/[d].txt': '4' });
    expect(ids((await readAll(join(folder, 'x/**/*.txt'))).documents)).toEqual([
      '[d].txt',
      'a.txt',
      'y/b.txt',
    ]);
    const literal = await readAll([join(folder, 'x/[d].txt')]);
    expect(ids(literal.documents)).toEqual([join(folder, 'x/[d].txt')]);
    const twice = await readAll([folder, join(folder, 'x/*.txt')]);
    expect(ids(twice.documents)).toHaveLength(4);
  });

  it('reads JSON Lines with ids and metadata, packed or not', async () => {
    const lines = [
      '{"id":"one","text":"first","metadata":{"year":1}}',
      '',
      '{"text":"second\\nline","other":true}\r',
      '{"id":7,"text":"third"}',
      '{"text":"   "}',
    ].join('\n');
    const folder = corpus({ 'a.jsonl': lines, 'b.jsonl.gz': gzipSync(lines) });
    const plain = await readAll(join(folder, 'a.jsonl'));
    expect(plain.documents.map(({ id, text, metadata }) => [id, text, metadata])).toEqual([
      ['one', 'first', { year: 1 }],
      [`${folder}/a.jsonl#3`, 'second\nline', undefined],
      ['7', 'third', undefined],
    ]);
    expect(plain.skips).toEqual([{ source: `${folder}/a.jsonl#5`, reason: 'empty' }]);
    const packed = await readAll(join(folder, 'b.jsonl.gz'));
    expect(packed.documents.map(({ text }) => text)).toEqual(['first', 'second\nline', 'third']);
  });

  it('takes the readable text of HTML pages', async () => {
    const page = `<html><head><title>T</title><style>p{}</style></head><body><nav>Menu</nav>
      <script>alert(1)</script><h1>Head</h1><p>One <a href="/x">two</a> &amp; three.</p>
      <table><tr><td>1</td><td>2</td></tr><tr><td>3</td><td>4</td></tr></table>
      <footer>Imprint</footer></body></html>`;
    const folder = corpus({
      'page.html': page,
      'main.htm': '<body>Around<main><header>Title</header><p>Inside</p></main></body>',
      'header.html': '<body><header>Logo</header><p>Rest</p></body>',
      'fragment.html': '<p>just a <b>piece</b></p>',
      'deep.html': `${'<div>'.repeat(10_000)}x`,
    });
    const texts = (
      await readAll(
        ['page.html', 'main.htm', 'header.html', 'fragment.html'].map((f) => join(folder, f)),
      )
    ).documents.map(({ text }) => text);
    expect(texts).toEqual([
      'Head\n\nOne two & three.\n\n1 2\n3 4',
      'Title\n\nInside',
      'Rest',
      'just a piece',
    ]);
    await expect(readAll(join(folder, 'deep.html'))).rejects.toMatchObject({
      code: 'INVALID_DOCUMENT',
      message: expect.stringContaining('nested'),
    });
  });

  it.each(['snappy', 'zstd', 'gzip', 'brotli'])('reads Parquet packed with %s', async (codec) => {
    const file = join(parquet, `${codec}.parquet`);
    const { documents, skips } = await readAll(file, { idColumn: 'id' });
    expect(documents.map(({ id, text }) => [id, text])).toEqual([
      ['row-0', 'First text.'],
      ['row-1', 'Zweiter Text, größer.'],
      ['row-4', '第五の文。'.repeat(3)],
    ]);
    expect(skips.map(({ source }) => source)).toEqual([`${file}#2`, `${file}#3`]);
    const named = await readAll(file, { textColumn: 'id', idColumn: 'stars' });
    expect(ids(named.documents)).toEqual(['1', '2', '3', '4', '5']);
    expect(ids((await readAll(file)).documents)[2]).toBe(`${file}#4`);
  });

  it('says what is wrong with an input and what to do', async () => {
    const folder = corpus({
      'latin1.txt': Buffer.from('caf\xe9 au lait', 'latin1'),
      'utf16.txt': Buffer.from('\ufeffhello', 'utf16le'),
      'binary.txt': Buffer.from('ab\0cd'),
      'image.png': 'x',
      'broken.txt.gz': Buffer.concat([gzipSync('x'.repeat(100_000)).subarray(0, 60)]),
      'not.txt.gz': 'plain text',
      'bad.jsonl': '{"text":"fine"}\n{"text":\n',
      'shape.jsonl': '{"text":["no"]}\n',
      'surrogate.jsonl': '{"text":"half \\ud800 pair"}\n',
      'array.jsonl': '[]\n',
      'not.parquet': 'nothing of the kind',
      'empty.txt': ' \n',
      'late.jsonl': `{"text":"${'ok '.repeat(50_000)}"}\n{"text":"\xff"}\n`,
    });
    writeFileSync(
      join(folder, 'late.jsonl'),
      Buffer.concat([
        Buffer.from('{"text":"ok"}\n{"text":"'),
        Buffer.of(0xff),
        Buffer.from('"}\n'),
      ]),
    );
    const cases: [string, string, RegExp][] = [
      ['missing.txt', 'INVALID_ARGUMENT', /does not exist/],
      ['*.docx', 'INVALID_ARGUMENT', /matches no file/],
      ['image.png', 'INVALID_ARGUMENT', /of a kind that cannot be read/],
      ['latin1.txt', 'INVALID_DOCUMENT', /byte 3 is 0xe9/],
      ['utf16.txt', 'INVALID_DOCUMENT', /UTF-16/],
      ['binary.txt', 'INVALID_DOCUMENT', /byte 2 is zero/],
      ['broken.txt.gz', 'INVALID_DOCUMENT', /damaged gzip.*unexpected end/],
      ['not.txt.gz', 'INVALID_DOCUMENT', /damaged gzip/],
      ['bad.jsonl', 'INVALID_DOCUMENT', /bad\.jsonl:2: expected .*not JSON/],
      ['shape.jsonl', 'INVALID_DOCUMENT', /:1: expected .*"text" is an array/],
      ['array.jsonl', 'INVALID_DOCUMENT', /it is an array/],
      ['surrogate.jsonl', 'INVALID_DOCUMENT', /surrogate/],
      ['late.jsonl', 'INVALID_DOCUMENT', /late\.jsonl:2 is not UTF-8: byte 23 is 0xff/],
      ['not.parquet', 'INVALID_DOCUMENT', /cannot be read as Parquet/],
      ['empty.txt', 'NO_DOCUMENTS', /No document with text/],
    ];
    for (const [name, code, message] of cases) {
      const failure = await readAll(join(folder, name)).catch((error: unknown) => error);
      expect(failure, name).toMatchObject({ name: 'KnnLMError', code });
      expect((failure as Error).message).toMatch(message);
      expect((failure as Error).message).not.toContain('\n');
    }
    const file = join(parquet, 'snappy.parquet');
    await expect(readAll(file, { textColumn: 'body' })).rejects.toThrow(/it has id, text, stars/);
    await expect(readAll(file, { textColumn: 'stars' })).rejects.toThrow(/not text/);
    await expect(readAll(join(parquet, 'invalid-utf8.parquet'))).rejects.toThrow(/byte 4 is 0xff/);
    await expect(readAll([])).rejects.toMatchObject({ code: 'NO_DOCUMENTS' });
  });

  it('skips binary files inside folders, and replaces invalid bytes when asked to', async () => {
    const folder = corpus({
      'a.txt': Buffer.from('ab\0cd'),
      'b.txt': Buffer.from('caf\xe9', 'latin1'),
      'c.txt': '\ufeffmarked',
    });
    const { documents, skips } = await readAll(folder, { invalidUtf8: 'replace' });
    expect(documents.map(({ text }) => text)).toEqual(['caf\ufffd', 'marked']);
    expect(skips).toEqual([
      { source: join(folder, 'a.txt'), reason: expect.stringMatching(/binary/) },
    ]);
  });

  it('refuses two files with one id, and documents beyond the limit', async () => {
    const folder = corpus({
      'x/a.txt': '1',
      'y/a.txt': '2',
      'long.jsonl': '{"text":"0123456789"}\n',
    });
    await expect(readAll([join(folder, 'x'), join(folder, 'y')])).rejects.toThrow(
      /both get the id "a.txt"/,
    );
    await expect(readAll(join(folder, 'long.jsonl'), { maxDocumentBytes: 10 })).rejects.toThrow(
      /long\.jsonl:1 is longer than 10 bytes/,
    );
    await expect(readAll(join(folder, 'x'), { maxDocumentBytes: 0 })).rejects.toThrow(
      /a\.txt is longer/,
    );
  });

  // The superuser may list everything.
  it.skipIf(process.getuid?.() === 0)(
    'refuses a folder of which a part cannot be listed',
    async () => {
      const folder = corpus({ 'a.txt': 'a', 'closed/b.txt': 'b' });
      chmodSync(join(folder, 'closed'), 0o000);
      try {
        await expect(readAll(folder)).rejects.toThrow(/Cannot list .*closed.*: permission denied/);
      } finally {
        chmodSync(join(folder, 'closed'), 0o755);
      }
    },
  );

  it('survives a folder that links to itself', async () => {
    const folder = corpus({ 'x/a.txt': 'a' });
    symlinkSync(folder, join(folder, 'x/loop'));
    expect(ids((await readAll(folder)).documents)).toEqual(['x/a.txt']);
  });

  it('stops when told to, and when the consumer has enough', async () => {
    const folder = corpus({ 'a.jsonl': '{"text":"some text"}\n'.repeat(50_000) });
    for await (const document of readDocuments([folder])) {
      expect(document.id).toBe('a.jsonl#1');
      break;
    }
    const controller = new AbortController();
    const reading = (async () => {
      for await (const _ of readDocuments([folder], { signal: controller.signal }))
        controller.abort();
    })();
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('estimating a corpus', () => {
  it('is exact for what fits into the sample', async () => {
    const folder = corpus({ 'a.txt': 'four', 'b.jsonl': '{"text":"one"}\n{"text":"three"}\n' });
    const estimate = await estimateDocuments([folder]);
    expect(estimate).toMatchObject({ files: 2, documents: 3, textBytes: 12, exact: true });
    expect(estimate.fileBytes).toBe(4 + 15 + 17);
    expect(ids(estimate.sample)).toEqual(['a.txt', 'b.jsonl#1', 'b.jsonl#2']);
  });

  it('is near for what does not', async () => {
    const line = (i: number) => `{"text":"${`word${i} `.repeat(200)}"}\n`;
    const lines = Array.from({ length: 4000 }, (_, i) => line(i)).join('');
    const folder = corpus({
      'a.jsonl': lines,
      'b.jsonl.gz': gzipSync(lines),
      'long.txt': 'A sentence. '.repeat(200_000),
    });
    const truth = (await readAll(folder)).documents;
    const bytes = truth.reduce((sum, { textBytes }) => sum + textBytes, 0);
    const estimate = await estimateDocuments([folder]);
    expect(estimate.exact).toBe(false);
    expect(estimate.documents / truth.length).toBeCloseTo(1, 0);
    expect(Math.abs(estimate.textBytes / bytes - 1)).toBeLessThan(0.15);
    const sampled = estimate.sample.reduce((sum, { textBytes }) => sum + textBytes, 0);
    expect(sampled).toBeLessThan(2 ** 21);
  });
});
