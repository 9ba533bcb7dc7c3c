import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { faults, freeDiskBytes } from '../../dist/datastore/files.js';
import type { StoreHeader } from '../../dist/datastore/manifest.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { storeBytes } from '../../dist/datastore/segment.js';
import { halfToFloats } from '../../dist/math/half.js';
import {
  contents,
  type FakeDocument,
  fakeDocument,
  fakeEntries,
  header,
  openStore,
  settings,
  temporaryFolder,
} from './support.ts';

/** Writes what is not there yet, in batches of `batch` entries with a commit after each. */
async function write(writer: DatastoreWriter, documents: readonly FakeDocument[], batch: number) {
  const dim = writer.header.key.dim;
  for (const document of documents) {
    if (writer.status(document.id, document.hash) === 'done') continue;
    let done = await writer.beginDocument(document);
    while (done < document.length) {
      const end = Math.min(done + batch, document.length);
      const { keys, values } = fakeEntries(document, done, end, dim);
      await writer.append(keys, values);
      await writer.commit();
      done = end;
    }
    await writer.endDocument();
  }
}

async function build(path: string, documents: readonly FakeDocument[], head = header()) {
  const writer = await DatastoreWriter.open(path, head);
  await write(writer, documents, 5);
  await writer.finish(settings);
}

const three = [fakeDocument('a', 3), fakeDocument('b', 12), fakeDocument('c', 1)];

describe('a datastore', () => {
  it('gives back what was written', async () => {
    const path = join(temporaryFolder(), 'store');
    await build(path, [three[0]!, { ...three[1]!, metadata: { year: 2020 } }, three[2]!]);
    const store = await openStore(path);
    expect([store.entries, store.keyDim, store.complete]).toEqual([16, 4, true]);
    expect(store.settings).toEqual(settings);
    expect([...store.documents].map(({ id, start, length }) => [id, start, length])).toEqual([
      ['a', 0, 3],
      ['b', 3, 12],
      ['c', 15, 1],
    ]);
    expect(store.documents.find('b')?.metadata).toEqual({ year: 2020 });
    expect(store.documents.find('nowhere')).toBeUndefined();
    const found = store.documents.locate(14);
    expect([found.row, found.document.id, found.position]).toEqual([1, 'b', 11]);
    const expected = three.flatMap((document) => [
      ...fakeEntries(document, 0, document.length).values,
    ]);
    expect([...(await store.valueRange(0, 16))]).toEqual(expected);
    expect([...(await store.values(Int32Array.of(15, 0, 4)))]).toEqual([
      expected[15],
      expected[0],
      expected[4],
    ]);
    const [source] = store.keySources();
    expect([source?.count, source?.dtype]).toEqual([16, 'fp16']);
    const bytes = readFileSync(source!.path);
    const keys = new Float32Array(16 * 4);
    halfToFloats(keys, new Uint16Array(bytes.buffer, bytes.byteOffset, bytes.length / 2));
    const exact = three.flatMap((document) => [...fakeEntries(document, 0, document.length).keys]);
    exact.forEach((x, i) => {
      expect(Math.abs(keys[i]! - x)).toBeLessThanOrEqual(2 ** -11 * Math.abs(x) + 1e-7);
    });
    await store.close();
  });

  it('keeps the sources of pairs, of one that was stopped inside too', async () => {
    const path = join(temporaryFolder(), 'store');
    const whole = join(temporaryFolder(), 'whole');
    const pairs = three.map((document) => ({
      ...document,
      sourceText: `source of ${document.id}`,
    }));
    const head = header({ pairs: { targetLanguage: 'de' } });
    await build(whole, pairs, head);
    const writer = await DatastoreWriter.open(path, head);
    await write(writer, pairs.slice(0, 1), 5);
    await writer.beginDocument(pairs[1]!);
    const { keys, values } = fakeEntries(pairs[1]!, 0, 5);
    await writer.append(keys, values);
    await writer.abort({ commit: true });
    const manifest = JSON.parse(readFileSync(join(path, 'manifest.json'), 'utf8'));
    expect(manifest).toMatchObject({ version: 3, pairs: { targetLanguage: 'de' } });
    expect(manifest.building.document.sourceText).toBe('source of b');
    await expect(DatastoreWriter.open(path, header({ pairs: {} }))).rejects.toThrow(
      /prefix or language of pairs is \{"targetLanguage":"de"\} \(fake\), here it is \{\}/,
    );
    await build(path, pairs, head);
    expect(contents(path)).toEqual(contents(whole));
    const store = await openStore(path);
    expect(store.header.pairs).toEqual({ targetLanguage: 'de' });
    expect([...store.documents].map(({ sourceText }) => sourceText)).toEqual(
      pairs.map(({ sourceText }) => sourceText),
    );
  });

  it('keeps values of four bytes for vocabularies beyond 65,536 and keys of four bytes on request', async () => {
    const path = join(temporaryFolder(), 'store');
    const head = header({ vocabSize: 128_256 });
    head.key.dtype = 'fp32';
    const writer = await DatastoreWriter.open(path, head);
    await writer.beginDocument(fakeDocument('a', 2));
    await writer.append(Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), Uint32Array.of(70_000, 3));
    await writer.endDocument();
    await writer.finish(settings);
    const store = await openStore(path);
    expect([...(await store.valueRange(0, 2))]).toEqual([70_000, 3]);
    expect(store.keySources()[0]!.path).toMatch(/keys\.f32$/);
    expect((await store.bytes()).keys).toBe(32);
  });

  it('gets further documents and takes other settings', async () => {
    const path = join(temporaryFolder(), 'store');
    await build(path, three);
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add' });
    expect(writer.status('a', three[0]!.hash)).toBe('done');
    expect(writer.status('z', three[0]!.hash)).toBe('duplicate');
    expect(() => writer.status('a', fakeDocument('x', 1).hash)).toThrow(/another text/);
    await write(writer, [fakeDocument('d', 4)], 9);
    await writer.finish(null);
    const store = await openStore(path);
    expect(store.keySources().map(({ count }) => count)).toEqual([16, 4]);
    expect(store.documents.locate(17).document.id).toBe('d');
    expect([...(await store.values(Int32Array.of(19, 2)))]).toHaveLength(2);
    await store.updateSettings({ ...settings, k: 99, source: 'tuned' });
    expect(store.settings?.k).toBe(99);
    expect((await openStore(path)).settings?.k).toBe(99);
  });

  it('hides deleted documents, whose ids and texts can then be added again', async () => {
    const path = join(temporaryFolder(), 'store');
    await build(path, three);
    await removeDocuments(path, { ids: ['b'] });
    await removeDocuments(path, { ids: ['a'] });
    const store = await openStore(path);
    expect(store.excludedRanges()).toEqual([[0, 15]]);
    expect([...store.documents].map(({ id }) => id)).toEqual(['c']);
    expect([store.documents.length, store.documents.isDeleted(1)]).toEqual([3, true]);
    expect(store.documents.find('b')).toBeUndefined();
    expect(store.documents.locate(4).document.id).toBe('b');
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add' });
    expect(writer.status('b', three[1]!.hash)).toBe('new');
    await write(writer, [three[1]!], 7);
    await writer.finish(null);
    const again = await openStore(path);
    expect(again.documents.find('b')?.start).toBe(16);
    expect(again.excludedRanges()).toEqual([[0, 15]]);
  });

  it('takes the space foretold', async () => {
    const path = join(temporaryFolder(), 'store');
    const documents = Array.from({ length: 50 }, (_, i) => fakeDocument(`some/file-${i}`, 40));
    await build(path, documents);
    const bytes = await (await openStore(path)).bytes();
    expect(bytes).toMatchObject({ keys: 2000 * 8, values: 2000 * 2 });
    const foretold = storeBytes(header(), 2000, 50);
    expect(bytes.total / foretold).toBeGreaterThan(0.8);
    expect(bytes.total / foretold).toBeLessThan(1.2);
    expect(await freeDiskBytes(join(path, 'not', 'yet', 'there'))).toBeGreaterThan(0);
  });

  it('is left as it was by an add that adds nothing', async () => {
    const path = join(temporaryFolder(), 'store');
    await build(path, three);
    const before = contents(path);
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add' });
    await writer.finish(null);
    expect(contents(path)).toEqual(before);
    const stopped = await DatastoreWriter.open(path, header(), { mode: 'add' });
    await stopped.beginDocument(fakeDocument('d', 4));
    await stopped.abort();
    expect(contents(path)).toEqual(before);
  });
});

describe('a build', () => {
  it('gives the same bytes in one go and in any sessions and batches', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 17 }), fc.integer({ min: 0, max: 12 })), {
          maxLength: 4,
        }),
        async (lengths, sessions) => {
          const folder = temporaryFolder();
          const documents = lengths.map((length, i) => fakeDocument(`d${i}`, length));
          await build(join(folder, 'whole'), documents);
          for (const [batch, steps] of sessions) {
            const writer = await DatastoreWriter.open(join(folder, 'parts'), header());
            let left = steps;
            const appended = writer.append.bind(writer);
            writer.append = async (keys, values) => {
              if (left-- === 0) throw new Error('stop');
              await appended(keys, values);
            };
            await write(writer, documents, batch).catch((error: Error) => {
              expect(error.message).toBe('stop');
            });
            await writer.abort();
          }
          await build(join(folder, 'parts'), documents);
          expect(contents(join(folder, 'parts'))).toEqual(contents(join(folder, 'whole')));
        },
      ),
      { numRuns: 25 },
    );
  });

  it('hides an incomplete document from readers and drops it when its text has changed', async () => {
    const path = join(temporaryFolder(), 'store');
    const writer = await DatastoreWriter.open(path, header());
    await write(writer, [three[0]!], 5);
    await writer.beginDocument(three[1]!);
    const { keys, values } = fakeEntries(three[1]!, 0, 5);
    await writer.append(keys, values);
    await writer.abort({ commit: true });
    const store = await openStore(path);
    expect([store.entries, store.documents.length, store.complete]).toEqual([3, 1, false]);
    const again = await DatastoreWriter.open(path, header());
    expect(again.resumed).toEqual({ documents: 1, entries: 8 });
    expect(again.status('b', three[1]!.hash)).toBe('partial');
    const changed = { ...fakeDocument('b2', 6), id: 'b' };
    expect(await again.beginDocument(changed)).toBe(0);
    const fresh = fakeEntries(changed, 0, 6);
    await again.append(fresh.keys, fresh.values);
    await again.endDocument();
    await again.finish(settings);
    await build(`${path}2`, [three[0]!, changed]);
    expect(contents(path)).toEqual(contents(`${path}2`));
  });

  it('loses at most what was not acknowledged when the disk fills up at any operation', async () => {
    const folder = temporaryFolder();
    await build(join(folder, 'whole'), three);
    const whole = contents(join(folder, 'whole'));
    for (let failing = 0; ; failing += 3) {
      const path = join(folder, `store-${failing}`);
      let operations = 0;
      faults.before = (action) => {
        if (action !== 'remove' && operations++ >= failing)
          throw Object.assign(new Error('full'), { code: 'ENOSPC' });
      };
      let writer: DatastoreWriter | undefined;
      let failure: unknown;
      try {
        writer = await DatastoreWriter.open(path, header());
        await write(writer, three, 5);
        await writer.finish(settings);
      } catch (error) {
        failure = error;
      }
      await writer?.abort().catch(() => undefined);
      faults.before = undefined;
      if (failure === undefined) break;
      expect(failure).toMatchObject({ name: 'KnnLMError', code: 'DISK_FULL' });
      const finished = existsSync(join(path, 'manifest.json')) && (await openStore(path)).complete;
      if (!finished) await build(path, three);
      expect(contents(path)).toEqual(whole);
    }
  });

  const others: [string, Partial<StoreHeader>, RegExp][] = [
    ['window', { window: 128 }, /--window 64, here it is 128/],
    ['stride', { stride: 16 }, /--stride 32, here it is 16/],
    ['end token', { eos: 2 }, /EOS token is 1 \(fake\), here it is 2/],
    [
      'model',
      { fingerprint: { ...header().fingerprint, weights: 'v' } },
      /model weights is w .* here it is v/,
    ],
    ['key dtype', { key: { ...header().key, dtype: 'fp32' } }, /--key-dtype fp16/],
    ['key width', { key: { ...header().key, dim: 8 } }, /key width is 4/],
  ];
  it.each(others)('is not continued with another %s', async (_, changes, message) => {
    const path = join(temporaryFolder(), 'store');
    const writer = await DatastoreWriter.open(path, header());
    await writer.abort();
    await expect(DatastoreWriter.open(path, header(changes))).rejects.toThrow(message);
  });

  it('refuses a second writer, naming the first, and takes over from a dead one', async () => {
    const path = join(temporaryFolder(), 'store');
    const writer = await DatastoreWriter.open(path, header());
    await expect(DatastoreWriter.open(path, header())).rejects.toMatchObject({
      code: 'STORE_LOCKED',
      message: expect.stringContaining(`process ${process.pid}`),
    });
    await writer.abort();
    const stale = { pid: 2 ** 22 + 1, host: hostname(), started: '1' };
    writeFileSync(join(path, 'lock'), JSON.stringify(stale));
    await (await DatastoreWriter.open(path, header())).abort();
    writeFileSync(join(path, 'lock'), '{"pid":');
    await (await DatastoreWriter.open(path, header())).abort();
    writeFileSync(join(path, 'lock'), JSON.stringify({ ...stale, host: 'elsewhere' }));
    await expect(DatastoreWriter.open(path, header())).rejects.toThrow(/on elsewhere/);
  });

  it('refuses folders and files that are not its own', async () => {
    const folder = temporaryFolder();
    writeFileSync(join(folder, 'notes.txt'), 'mine');
    mkdirSync(join(folder, 'empty'));
    const open = (path: string) => DatastoreWriter.open(join(folder, path), header());
    await expect(open('.')).rejects.toMatchObject({ code: 'STORE_EXISTS' });
    await expect(open('notes.txt')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    await expect(open('notes.txt/store')).rejects.toMatchObject({ name: 'KnnLMError' });
    await (await open('empty')).abort();
    await build(join(folder, 'done'), three);
    await expect(open('done')).rejects.toThrow(/knnlm add/);
    await expect(
      DatastoreWriter.open(join(folder, 'new'), header(), { mode: 'add' }),
    ).rejects.toMatchObject({ code: 'STORE_NOT_FOUND' });
    expect(existsSync(join(folder, 'new'))).toBe(false);
    expect(readFileSync(join(folder, 'notes.txt'), 'utf8')).toBe('mine');
  });

  it('refuses keys that cannot be stored, and can still acknowledge what came before', async () => {
    for (const [bad, message] of [
      [70_000, /--key-dtype fp32/],
      [Number.NaN, /NaN/],
    ] as const) {
      const path = join(temporaryFolder(), 'store');
      const writer = await DatastoreWriter.open(path, header());
      await write(writer, [three[0]!], 5);
      await writer.beginDocument(three[1]!);
      const keys = Float32Array.of(1, 2, bad, 4);
      await expect(writer.append(keys, Uint32Array.of(1))).rejects.toThrow(message);
      await writer.abort({ commit: true });
      await build(path, three);
      expect((await openStore(path)).entries).toBe(16);
    }
  });

  it('stops when its lock is gone', async () => {
    const path = join(temporaryFolder(), 'store');
    const writer = await DatastoreWriter.open(path, header());
    rmSync(join(path, 'lock'));
    const other = await DatastoreWriter.open(path, header());
    const theirs = readFileSync(join(path, 'lock'), 'utf8').replace(`${process.pid}`, '1');
    writeFileSync(join(path, 'lock'), theirs);
    await expect(write(writer, three, 5)).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    await writer.abort();
    expect(readFileSync(join(path, 'lock'), 'utf8')).toBe(theirs);
    await other.abort();
  });

  it('sees duplicates inside the look-ahead of a builder that claims', async () => {
    const writer = await DatastoreWriter.open(join(temporaryFolder(), 'store'), header());
    const [a, b] = three as [FakeDocument, FakeDocument];
    expect(writer.claim('a', a.hash)).toBe('new');
    expect(writer.claim('a', a.hash)).toBe('done');
    expect(writer.claim('copy', a.hash)).toBe('duplicate');
    expect(() => writer.claim('a', b.hash)).toThrow(/another text/);
    expect(writer.hasHash(a.hash)).toBe(false);
    await writer.abort();
  });

  it('refuses metadata that JSON cannot say', async () => {
    const writer = await DatastoreWriter.open(join(temporaryFolder(), 'store'), header());
    await expect(
      writer.beginDocument({ ...three[0]!, metadata: { big: 1n } }),
    ).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
    await writer.abort();
  });

  it('refuses to end empty', async () => {
    const writer = await DatastoreWriter.open(join(temporaryFolder(), 'store'), header());
    await expect(writer.finish(settings)).rejects.toMatchObject({ code: 'NO_DOCUMENTS' });
    await writer.abort();
  });
});
