import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { compactDatastore } from '../../dist/datastore/compact-datastore.js';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { faults } from '../../dist/datastore/files.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { verifyDatastore } from '../../dist/datastore/verify-datastore.js';
import { KnnLMError } from '../../dist/errors.js';
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

/** A later text of a document: another hash, other entries. */
const version = (id: string, number: number, length: number): FakeDocument => ({
  ...fakeDocument(id, length),
  hash: createHash('sha256').update(`${id} ${number}`).digest('hex'),
});

async function write(
  path: string,
  documents: readonly FakeDocument[],
  options: { mode?: 'build' | 'add'; replace?: boolean } = {},
): Promise<void> {
  const writer = await DatastoreWriter.open(path, header(), options);
  try {
    for (const document of documents) {
      if (writer.claim(document.id, document.hash) === 'done') continue;
      await writer.beginDocument(document);
      const { keys, values } = fakeEntries(document, 0, document.length);
      await writer.append(keys, values);
      await writer.endDocument();
    }
    await writer.finish(options.mode === 'add' ? null : settings);
  } catch (error) {
    // On a disk that has failed this may fail too; it closes the files.
    await writer.abort().catch(() => undefined);
    throw error;
  }
}

const first = [fakeDocument('a', 7), fakeDocument('b', 5), fakeDocument('notes/c', 300)];
const more = [fakeDocument('d', 40), fakeDocument('notes/deep/e', 11)];

/** Two segments, without an index. */
async function makeStore(): Promise<string> {
  const path = join(temporaryFolder(), 'store');
  await write(path, first);
  await write(path, more, { mode: 'add' });
  return path;
}

async function freshBuild(documents: readonly FakeDocument[]): Promise<string> {
  const path = join(temporaryFolder(), 'fresh');
  await write(path, documents);
  return path;
}

/** What a store says of its documents and values. */
async function saidBy(store: Datastore): Promise<unknown> {
  const { documents, entries } = store;
  const rows = Array.from({ length: entries }, (_, entry) => documents.locate(entry));
  const found = rows.map(({ document }) => documents.find(document.id)?.start);
  return [[...documents], documents.live, rows, found, await store.valueRange(0, entries)];
}

const idsOf = async (path: string): Promise<string[]> =>
  [...(await openStore(path)).documents].map(({ id }) => id);

/** Whether bytes stand anywhere in a folder's files. */
function isAnywhere(folder: string, bytes: Buffer): boolean {
  return readdirSync(folder, { recursive: true, withFileTypes: true }).some(
    (entry) => entry.isFile() && readFileSync(join(entry.parentPath, entry.name)).includes(bytes),
  );
}

/** Each operation on the disk from the n-th on fails, as after a kill or on a full disk. */
function failFrom(n: number, code: 'ENOSPC' | 'EROFS' | 'EIO'): () => boolean {
  let left = n;
  let failed = false;
  faults.before = () => {
    if (left-- > 0) return;
    failed = true;
    throw Object.assign(new Error(code), { code });
  };
  onTestFinished(() => {
    faults.before = undefined;
  });
  return () => {
    faults.before = undefined;
    return failed;
  };
}

describe('removeDocuments', () => {
  it('takes documents by id, pattern, metadata and hash, each narrowing the others', async () => {
    const path = join(temporaryFolder(), 'store');
    const tagged = (id: string, metadata: Record<string, unknown>) => ({
      ...fakeDocument(id, 5),
      metadata,
    });
    await write(path, [
      tagged('notes/a', { author: 'Ann', year: 2019, tags: ['x', 'y'] }),
      tagged('notes/b', { author: 'Ben', year: 2019 }),
      tagged('letters/a', { author: 'Ann', year: 2020 }),
      tagged('plain', {}),
    ]);
    const wouldTake = async (selection: Parameters<typeof removeDocuments>[1]) =>
      (await removeDocuments(path, selection, { dryRun: true })).documents.map(({ id }) => id);
    expect(await wouldTake({ globs: ['notes/*'] })).toEqual(['notes/a', 'notes/b']);
    expect(await wouldTake({ globs: ['**/a', 'plain'] })).toEqual([
      'notes/a',
      'letters/a',
      'plain',
    ]);
    expect(await wouldTake({ metadata: { author: 'Ann' } })).toEqual(['notes/a', 'letters/a']);
    expect(await wouldTake({ metadata: { author: 'Ann', year: '2019' } })).toEqual(['notes/a']);
    expect(await wouldTake({ metadata: { tags: 'y' } })).toEqual(['notes/a']);
    expect(await wouldTake({ hashes: [fakeDocument('plain', 5).hash] })).toEqual(['plain']);
    expect(await wouldTake({ ids: ['plain', 'notes/b'], globs: ['n*/*'] })).toEqual(['notes/b']);
    expect(await idsOf(path)).toHaveLength(4);
    const removal = await removeDocuments(path, { globs: ['notes/*'] });
    expect([removal.entries, removal.remaining]).toEqual([10, 10]);
    expect(await idsOf(path)).toEqual(['letters/a', 'plain']);
  });

  it.each([
    [{}, 'No documents were named'],
    [{ ids: ['a', 'nobody'] }, 'holds no document "nobody"'],
    [{ globs: ['x/**'] }, 'No document matches'],
    [{ metadata: { toString: 'x' } }, 'No document matches'],
    [{ hashes: ['abc'] }, '64 hexadecimal digits, not "abc"'],
  ])('changes nothing when asked for %j', async (selection, message) => {
    const path = await makeStore();
    const before = contents(path);
    await expect(removeDocuments(path, selection)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
    expect(contents(path)).toEqual(before);
  });

  it('changes the manifest alone, and makes no lock where there is no store', async () => {
    const path = await makeStore();
    const { 'manifest.json': _, ...before } = contents(path);
    await removeDocuments(path, { ids: ['a', 'd'] });
    const { 'manifest.json': __, ...after } = contents(path);
    expect(after).toEqual(before);
    const store = await openStore(path);
    expect(store.excludedRanges()).toEqual([
      [0, 7],
      [312, 352],
    ]);
    expect([store.entries, store.liveEntries]).toEqual([363, 316]);
    const nowhere = temporaryFolder();
    await expect(removeDocuments(nowhere, { ids: ['a'] })).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
    });
    expect(readdirSync(nowhere)).toEqual([]);
  });

  it('concludes an interrupted add first: what was acknowledged whole stays, the partial document goes', async () => {
    const path = await makeStore();
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add' });
    for (const document of [fakeDocument('whole', 9), fakeDocument('partial', 20)]) {
      await writer.beginDocument(document);
      const { keys, values } = fakeEntries(document, 0, 9);
      await writer.append(keys, values);
      if (document.length === 9) await writer.endDocument();
    }
    await writer.abort({ commit: true });
    expect((await openStore(path)).complete).toBe(false);
    await removeDocuments(path, { ids: ['a'] });
    expect((await openStore(path)).complete).toBe(true);
    expect(await idsOf(path)).toEqual(['b', 'notes/c', 'd', 'notes/deep/e', 'whole']);
    expect(await verifyDatastore(path)).toMatchObject({ problems: [], leftovers: [] });
  });

  it('refuses a store whose build has not finished', async () => {
    const path = join(temporaryFolder(), 'store');
    const writer = await DatastoreWriter.open(path, header());
    await writer.abort({ commit: true });
    const refused = {
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('not fully built'),
    };
    await expect(removeDocuments(path, { ids: ['a'] })).rejects.toMatchObject(refused);
    await expect(compactDatastore(path)).rejects.toMatchObject(refused);
  });
});

describe('an update', () => {
  it('replaces a document in one manifest: readers see its old text or its new one, never both or neither', async () => {
    const path = await makeStore();
    const renewed = version('b', 1, 12);
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add', replace: true });
    expect(writer.claim('a', first[0]!.hash)).toBe('done');
    expect(writer.claim(renewed.id, renewed.hash)).toBe('new');
    expect(() => writer.claim(renewed.id, first[0]!.hash)).toThrow(/already stored/);
    await writer.beginDocument(renewed);
    const { keys, values } = fakeEntries(renewed, 0, 12);
    await writer.append(keys.subarray(0, 24), values.subarray(0, 6));
    await writer.commit();
    expect((await openStore(path)).documents.find('b')).toMatchObject({ hash: first[1]!.hash });
    await writer.append(keys.subarray(24), values.subarray(6));
    await writer.endDocument();
    expect((await openStore(path)).documents.find('b')).toMatchObject({ hash: first[1]!.hash });
    await writer.commit();
    expect((await openStore(path)).documents.find('b')).toMatchObject({ hash: renewed.hash });
    await writer.finish(null);
    expect(writer.replaced).toBe(1);
    expect(await idsOf(path)).toEqual(['a', 'notes/c', 'd', 'notes/deep/e', 'b']);
  });

  it('lets two documents change places, whichever comes first', async () => {
    const path = await makeStore();
    const [a, b] = [first[0]!, first[1]!];
    const swapped = [
      { ...a, hash: b.hash },
      { ...b, hash: a.hash },
    ];
    await write(path, swapped, { mode: 'add', replace: true });
    const { documents } = await openStore(path);
    expect([documents.find('a')?.hash, documents.find('b')?.hash]).toEqual([b.hash, a.hash]);
  });
});

describe('compactDatastore', () => {
  it('leaves byte for byte what a fresh build of the surviving documents gives', async () => {
    const path = await makeStore();
    await write(path, [version('b', 1, 12)], { mode: 'add', replace: true });
    await removeDocuments(path, { ids: ['a', 'd'] });
    mkdirSync(join(path, 'index', 'ivf'), { recursive: true });
    writeFileSync(join(path, 'index', 'ivf', 'codes'), 'of removed keys');
    writeFileSync(join(path, 'manifest.json.tmp'), 'left by a crash');
    const result = await compactDatastore(path);
    expect(result).toMatchObject({
      documents: 3,
      entries: 323,
      removedDocuments: 3,
      removedEntries: 52,
      segments: 3,
      rewritten: true,
      indexRemoved: true,
    });
    const fresh = await freshBuild([first[2]!, more[1]!, version('b', 1, 12)]);
    expect(contents(path)).toEqual(contents(fresh));
    expect(await compactDatastore(path)).toMatchObject({ rewritten: false });
    expect(contents(path)).toEqual(contents(fresh));
  });

  it('leaves not one byte of a removed document in any file', async () => {
    const path = await makeStore();
    const gone = [first[2]!, more[0]!];
    const store = await openStore(path);
    const traces: Buffer[] = [];
    for (const { id, hash } of gone) {
      const { start, length } = store.documents.find(id)!;
      const values = Uint16Array.from(await store.valueRange(start, start + length));
      // A key alone is telling; values only in a row.
      traces.push(
        Buffer.from(hash),
        Buffer.from(JSON.stringify(id)),
        Buffer.from(values.buffer, 0, 32),
      );
      const { path: file, byteOffset } = store.keySources(start)[0]!;
      const keys = readFileSync(file).subarray(byteOffset, byteOffset + length * 8);
      for (let i = 0; i < length; i++) traces.push(keys.subarray(i * 8, i * 8 + 8));
    }
    for (const trace of traces) expect(isAnywhere(path, trace)).toBe(true);
    await removeDocuments(path, { ids: gone.map(({ id }) => id) });
    await compactDatastore(path);
    for (const trace of traces) expect(isAnywhere(path, trace)).toBe(false);
  });

  it('can leave a store without documents, to which some can be added again', async () => {
    const path = await makeStore();
    await removeDocuments(path, { globs: ['**'] });
    await compactDatastore(path);
    expect((await openStore(path)).entries).toBe(0);
    await write(path, more, { mode: 'add' });
    await compactDatastore(path);
    expect(contents(path)).toEqual(contents(await freshBuild(more)));
  });

  it('refuses to copy a block that does not match its checksum, and changes nothing', async () => {
    const path = await makeStore();
    await removeDocuments(path, { ids: ['a'] });
    for (const name of ['keys.f16', 'values.u16', 'documents.jsonl']) {
      const file = join(path, 'segments/000000', name);
      const bytes = readFileSync(file);
      const flipped = Buffer.from(bytes);
      // In text, a letter of an id: the line can be read all the same.
      flipped[flipped.length - 100]! ^= 1;
      writeFileSync(file, flipped);
      const before = contents(path);
      await expect(compactDatastore(path)).rejects.toMatchObject({
        code: 'STORE_CORRUPT',
        message: expect.stringContaining(name),
      });
      expect(contents(path)).toEqual(before);
      writeFileSync(file, bytes);
    }
  });

  it('stops when told to, leaving the store as it was', async () => {
    const path = await makeStore();
    await removeDocuments(path, { ids: ['a'] });
    const before = contents(path);
    const stop = new AbortController();
    const compaction = compactDatastore(path, {
      signal: stop.signal,
      onProgress: () => stop.abort(),
    });
    await expect(compaction).rejects.toMatchObject({ code: 'ABORTED' });
    expect(contents(path)).toEqual(before);
  });

  it('leaves an open reader what it saw, and its files readable', async () => {
    const path = await makeStore();
    const store = await openStore(path);
    const values = await (await openStore(path)).valueRange(0, 363);
    await removeDocuments(path, { ids: ['a', 'd'] });
    await compactDatastore(path);
    expect(await store.valueRange(0, 363)).toEqual(values);
    expect([...store.documents].map(({ id }) => id)).toEqual(
      [...first, ...more].map(({ id }) => id),
    );
  });

  it('is seen by whoever had the store open, though another segment of the same sizes has the old name', async () => {
    const path = join(temporaryFolder(), 'store');
    await write(path, [fakeDocument('a', 7)]);
    await write(path, [fakeDocument('b', 7)], { mode: 'add' });
    const store = await openStore(path);
    await store.valueRange(0, 14);
    await removeDocuments(path, { ids: ['a'] }, { known: store.documents });
    await compactDatastore(path);
    const now = await Datastore.open(path, { known: store });
    onTestFinished(() => now.close());
    expect([...now.documents].map(({ id }) => id)).toEqual(['b']);
    const { values } = fakeEntries(fakeDocument('b', 7), 0, 7);
    expect(await now.valueRange(0, 7)).toEqual(values);
  });

  it('may run while others open the store: each opening sees one state, whole', async () => {
    const path = await makeStore();
    let going = true;
    const states = new Set<string>();
    const reading = (async () => {
      while (going) {
        const store = await openStore(path);
        states.add([...store.documents].map(({ id }) => id).join());
        expect((await store.valueRange(0, store.entries)).length).toBe(store.entries);
        await store.close();
      }
    })();
    for (let i = 0; i < 15; i++) {
      await removeDocuments(path, { ids: ['d'] });
      await compactDatastore(path);
      await write(path, [more[0]!], { mode: 'add' });
    }
    going = false;
    await reading;
    for (const state of states) expect(state).toMatch(/^a,b,notes\/c(,d)?,notes\/deep\/e(,d)?$/);
  });
});

describe('changes to a store', () => {
  const changes: Record<string, (path: string) => Promise<unknown>> = {
    add: (path) => write(path, [fakeDocument('f', 9)], { mode: 'add' }),
    update: (path) => write(path, [version('b', 1, 12)], { mode: 'add', replace: true }),
    remove: (path) => removeDocuments(path, { ids: ['a'] }),
    compact: (path) => compactDatastore(path),
  };

  it.each(Object.keys(changes))(
    '%s: the disk may fill up or fail at any operation',
    async (name) => {
      const pristine = await makeStore();
      await removeDocuments(pristine, { ids: ['d'] });
      const before = await idsOf(pristine);
      const path = join(temporaryFolder(), 'store');
      const copy = () => {
        rmSync(path, { recursive: true, force: true });
        cpSync(pristine, path, { recursive: true });
      };
      copy();
      await changes[name]!(path);
      const after = await idsOf(path);
      for (const code of ['ENOSPC', 'EIO'] as const) {
        // Each second operation, and each seventh; bench/crash.js stops at every one.
        for (let n = 0; ; n += code === 'ENOSPC' ? 2 : 7) {
          copy();
          const stop = failFrom(n, code);
          const error = await changes[name]!(path).catch((caught: unknown) => caught);
          if (!stop()) break;
          // What cannot be tidied up is no failure of the change itself.
          if (error !== undefined && !('documents' in (error as object)))
            expect(error).toBeInstanceOf(KnnLMError);
          expect((await verifyDatastore(path)).problems).toEqual([]);
          expect([before, after]).toContainEqual(await idsOf(path));
          // Another process would take over a dead owner's lock; here the owner lives.
          rmSync(join(path, 'lock'), { force: true });
          if ((await idsOf(path)).join() !== after.join()) await changes[name]!(path);
          expect(await idsOf(path)).toEqual(after);
        }
      }
    },
  );

  it.each(Object.keys(changes))('%s: any read may fail', async (name) => {
    const pristine = await makeStore();
    await removeDocuments(pristine, { ids: ['d'] });
    const before = await idsOf(pristine);
    const path = join(temporaryFolder(), 'store');
    cpSync(pristine, `${path}-changed`, { recursive: true });
    await changes[name]!(`${path}-changed`);
    const after = await idsOf(`${path}-changed`);
    onTestFinished(() => {
      faults.beforeReading = undefined;
    });
    for (let n = 0, failed = true; failed; n++) {
      rmSync(path, { recursive: true, force: true });
      cpSync(pristine, path, { recursive: true });
      let left = n;
      faults.beforeReading = () => {
        if (left-- === 0) throw Object.assign(new Error('EIO'), { code: 'EIO' });
      };
      const error = await changes[name]!(path).catch((caught: unknown) => caught);
      faults.beforeReading = undefined;
      failed = left < 0;
      if (error instanceof Error)
        expect(error).toMatchObject({
          code: 'IO',
          message: expect.stringMatching(/^Cannot read .*: the device reported a read or write/),
        });
      expect((await verifyDatastore(path)).problems).toEqual([]);
      // Made or not made, never half; one that fails when all is done may still be told.
      expect([before, after]).toContainEqual(await idsOf(path));
    }
    expect(await idsOf(path)).toEqual(after);
  });

  it('are refused on a read-only disk in one line, and reading goes on', async () => {
    const path = await makeStore();
    for (const change of Object.values(changes)) {
      const stop = failFrom(0, 'EROFS');
      await expect(change(path)).rejects.toMatchObject({
        code: 'IO',
        message: expect.stringMatching(/^Cannot .*: the file system is read-only\.$/),
      });
      expect((await openStore(path)).documents.find('a')).toBeDefined();
      expect((await verifyDatastore(path)).problems).toEqual([]);
      stop();
    }
  });

  it('are refused while another process writes, which is named', async () => {
    const path = await makeStore();
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    onTestFinished(() => void other.kill());
    const lock = JSON.stringify({
      pid: other.pid,
      host: (await import('node:os')).hostname(),
      started: '',
    });
    writeFileSync(join(path, 'lock'), lock);
    for (const change of Object.values(changes)) {
      await expect(change(path)).rejects.toMatchObject({
        code: 'STORE_LOCKED',
        message: expect.stringContaining(`process ${other.pid}`),
      });
    }
    await expect(verifyDatastore(path, { repair: true })).rejects.toMatchObject({
      code: 'STORE_LOCKED',
    });
    expect((await verifyDatastore(path)).problems).toEqual([]);
  });

  it('are refused in a store of a newer format', async () => {
    const path = await makeStore();
    const file = join(path, 'manifest.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"version": 1', '"version": 9'));
    const before = contents(path);
    for (const change of Object.values(changes))
      await expect(change(path)).rejects.toMatchObject({ code: 'STORE_VERSION' });
    expect(contents(path)).toEqual(before);
  });

  it('in any order leave, once compacted, what a fresh build of the surviving documents gives', async () => {
    const ids = ['a', 'b', 'c/1', 'c/2'];
    const change = fc.oneof(
      {
        weight: 3,
        arbitrary: fc.record({
          put: fc.constantFrom(...ids),
          length: fc.integer({ min: 1, max: 30 }),
        }),
      },
      { weight: 2, arbitrary: fc.record({ remove: fc.constantFrom(...ids) }) },
      { weight: 1, arbitrary: fc.constant({ compact: true }) },
    );
    await fc.assert(
      fc.asyncProperty(fc.array(change, { maxLength: 8 }), async (sequence) => {
        const path = join(temporaryFolder(), 'store');
        const base = fakeDocument('base', 10);
        await write(path, [base]);
        // A Map keeps the order in which documents came to be as they are: the order of a fresh build.
        const living = new Map([[base.id, base]]);
        let open = await openStore(path);
        let number = 0;
        for (const step of sequence) {
          if ('put' in step) {
            const document = version(step.put, number++, step.length);
            await write(path, [document], { mode: 'add', replace: true });
            living.delete(document.id);
            living.set(document.id, document);
          } else if ('remove' in step) {
            const removing = removeDocuments(path, { ids: [step.remove] });
            if (living.delete(step.remove)) await removing;
            else await expect(removing).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
          } else await compactDatastore(path);
          expect(await idsOf(path)).toEqual([...living.keys()]);
          // Whoever had it open reads the rest only, and sees the same.
          const next = await Datastore.open(path, { known: open });
          onTestFinished(() => next.close());
          expect(await saidBy(next)).toEqual(await saidBy(await openStore(path)));
          open = next;
        }
        expect((await verifyDatastore(path)).problems).toEqual([]);
        await compactDatastore(path);
        expect(contents(path)).toEqual(contents(await freshBuild([...living.values()])));
      }),
      { numRuns: 20 },
    );
  });
});

describe('verifyDatastore', () => {
  it('repairs what crashes leave, says so, and touches nothing that counts', async () => {
    const path = await makeStore();
    const whole = contents(path);
    mkdirSync(join(path, 'segments/000007'));
    writeFileSync(join(path, 'segments/000007/keys.f16'), 'half a segment');
    writeFileSync(join(path, 'manifest.json.tmp'), '{');
    appendFileSync(join(path, 'segments/000001/values.u16'), 'beyond');
    const seen = await verifyDatastore(path);
    expect(seen.problems).toHaveLength(1);
    expect(seen.leftovers).toEqual([
      join(path, 'manifest.json.tmp'),
      join(path, 'segments/000007'),
    ]);
    const repaired = await verifyDatastore(path, { repair: true });
    expect(repaired.problems).toEqual([]);
    expect(repaired.repaired).toEqual([
      `removed ${join(path, 'manifest.json.tmp')}`,
      `removed ${join(path, 'segments/000007')}`,
      expect.stringMatching(/^cut 6 bytes off the end of .*values\.u16/),
    ]);
    expect(contents(path)).toEqual(whole);
  });

  it('leaves damaged documents as they are, and a user’s own files', async () => {
    const path = await makeStore();
    const file = join(path, 'segments/000000/keys.f16');
    const bytes = readFileSync(file);
    bytes[0]! ^= 1;
    writeFileSync(file, bytes);
    writeFileSync(join(path, 'README'), 'mine');
    writeFileSync(join(path, 'segments', 'notes'), 'mine');
    const before = contents(path);
    const { problems, repaired } = await verifyDatastore(path, { repair: true });
    expect([problems.length, repaired]).toEqual([1, []]);
    expect(contents(path)).toEqual(before);
  });

  it('finds any changed byte of the manifest, and ranges that are not whole documents', async () => {
    const path = await makeStore();
    const file = join(path, 'manifest.json');
    const bytes = readFileSync(file);
    for (let at = 0; at < bytes.length; at += 7) {
      const flipped = Buffer.from(bytes);
      flipped[at]! ^= 2;
      writeFileSync(file, flipped);
      const verified = verifyDatastore(path).then(({ problems }) => problems);
      await expect(verified).rejects.toMatchObject({
        code: expect.stringMatching(/STORE_(CORRUPT|VERSION)/),
      });
    }
    const { checksum: _, ...manifest } = JSON.parse(bytes.toString());
    writeFileSync(file, JSON.stringify({ ...manifest, deleted: [[0, 6]] }));
    expect((await verifyDatastore(path)).problems).toEqual([
      { file, problem: 'deleted range [0, 6) is not of whole documents' },
    ]);
    expect(existsSync(`${file}.tmp`)).toBe(false);
  });
});
