/** Folders kept in step with a store: files written, changed, renamed and deleted, in whatever state they are found. */
import { spawn } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { verifyDatastore } from '../../dist/datastore/verify-datastore.js';
import { readWatchRecord } from '../../dist/datastore/watch-record.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { FolderSync } from '../../dist/knnlm/watch/folder-sync.js';
import { look } from '../../dist/knnlm/watch/look.js';
import type { WatchEvent, WatchRequest } from '../../dist/knnlm/watch/types.js';
import type { LanguageModel } from '../../dist/model/language-model.js';
import { loadModel } from '../../dist/model/load-model.js';
import { addDocuments, buildDatastore, listDocuments, watchFolders } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const command = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const modelPath = `${fixtures}models/stories260K`;
/** In memory where the system offers it: changes are synced. */
const root = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'knnlm-watch-'));
const built = join(root, 'built');
const sentence = (name: string) => `Once upon a time, ${name} went to the park. ${name} was happy.`;
let model: LanguageModel;
let places = 0;

beforeAll(async () => {
  model = await loadModel(modelPath);
  const first = place({ 'other.txt': sentence('Otto') }).notes;
  await buildDatastore([first], {
    out: built,
    model: modelPath,
    window: 64,
    stride: 32,
    settings: { k: 4 },
  });
});

afterAll(async () => {
  await model?.close();
  rmSync(root, { recursive: true });
});

interface Place {
  store: string;
  notes: string;
  put: (name: string, content: string | Buffer) => string;
}

/** A folder of files, and a copy of a store that holds one document from elsewhere. */
function place(files: Record<string, string | Buffer> = {}): Place {
  const folder = join(root, `place-${places++}`);
  const notes = join(folder, 'notes');
  const store = join(folder, 'store.knn');
  mkdirSync(notes, { recursive: true });
  if (existsSync(built)) cpSync(built, store, { recursive: true });
  const put = (name: string, content: string | Buffer): string => {
    const path = join(notes, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
    return path;
  };
  for (const [name, content] of Object.entries(files)) put(name, content);
  return { store, notes, put };
}

/** One turn. @returns what was told, and what came of it */
async function turnOf(one: FolderSync) {
  const events: WatchEvent[] = [];
  const steps = one.sync();
  let step = await steps.next();
  for (; !step.done; step = await steps.next()) events.push(step.value);
  const synced = events.find((event) => event.event === 'synced');
  return { events, synced, outcome: step.value };
}

/** One turn of a watcher that has just started, at once. */
async function sync({ store, notes }: Pick<Place, 'store' | 'notes'>, request: WatchRequest = {}) {
  const one = new FolderSync(store, [notes], { model, settleMs: 0, ...request });
  try {
    return await turnOf(one);
  } finally {
    await one.close();
  }
}

const skips = (events: readonly WatchEvent[]) =>
  events.flatMap((event) => (event.event === 'skipped' ? [event.reason] : []));

/** Ids of what the store holds, but for the document from elsewhere. */
async function ids(store: string): Promise<string[]> {
  const documents = await listDocuments(store);
  expect(documents.some(({ id }) => id === 'other.txt')).toBe(true);
  return documents.flatMap(({ id }) => (id === 'other.txt' ? [] : [id])).sort();
}

async function opened(path: string): Promise<Datastore> {
  const store = await Datastore.open(path);
  onTestFinished(() => store.close());
  return store;
}

const hashOf = async (store: string, id: string) =>
  (await listDocuments(store)).find((document) => document.id === id)?.hash;

/** What `look` makes of each file, by its name. */
async function statesOf({ store, notes }: Place): Promise<Record<string, string>> {
  const { documents: table } = await opened(store);
  const record = await readWatchRecord(store);
  const options = { folders: [notes], store, settleMs: 0, onSkip: () => {} };
  const { files } = await look({ record, table, firstSeen: new Map() }, options);
  return Object.fromEntries(
    [...files].map(([path, { state }]) => [path.slice(notes.length + 1), state]),
  );
}

describe('a folder and its store', () => {
  it('are in step: new, changed and deleted files, of every kind that is read', async () => {
    const here = place({
      'a.txt': sentence('Anna'),
      'deep/b.md': sentence('Ben'),
      'page.html': `<main><p>${sentence('Pia')}</p></main>`,
      'packed.txt.gz': gzipSync(sentence('Gina')),
      'many.jsonl': `{"id":"x","text":"${sentence('Xena')}","metadata":{"n":1}}\n{"text":"${sentence('Yan')}"}\n`,
      'picture.png': 'no text',
    });
    const first = await sync(here);
    const all = ['a.txt', 'deep/b.md', 'many.jsonl#2', 'packed.txt.gz', 'page.html', 'x'];
    expect(await ids(here.store)).toEqual(all);
    expect(first.synced).toMatchObject({ updated: [], moved: [], removed: [] });
    expect([...first.synced!.added].sort()).toEqual(all);
    expect(skips(first.events)).toEqual([expect.stringContaining('unknown kind')]);
    expect((await sync(here)).synced).toBeUndefined();

    here.put('a.txt', sentence('Amy'));
    here.put('many.jsonl', `{"id":"x","text":"${sentence('Xena')}"}\n{"id":"z","text":"New."}\n`);
    here.put('c.txt', sentence('Carl'));
    rmSync(join(here.notes, 'deep'), { recursive: true });
    const second = (await sync(here)).synced!;
    expect([...second.added].sort()).toEqual(['c.txt', 'z']);
    expect(second).toMatchObject({ updated: ['a.txt'], moved: [] });
    expect([...second.removed].sort()).toEqual(['deep/b.md', 'many.jsonl#2']);
    expect(await hashOf(here.store, 'a.txt')).toBe(documentHash(sentence('Amy')));
    expect((await verifyDatastore(here.store)).problems).toEqual([]);
  });

  it('stay in step whatever is written, renamed and deleted in between', async () => {
    const name = fc.constantFrom('a.txt', 'b.txt', 'sub/c.txt');
    const step = fc.oneof(
      fc.record({ write: name, text: fc.constantFrom('Ann', 'Bob', 'Cid') }),
      fc.record({ remove: name }),
      fc.record({ rename: name, to: name }),
      fc.record({ lines: fc.uniqueArray(fc.constantFrom('p', 'q', 'r'), { maxLength: 3 }) }),
    );
    const steps = fc.array(fc.array(step, { minLength: 1, maxLength: 4 }), { maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(steps, async (turns) => {
        const here = place();
        const files = new Map<string, string>();
        let lines: string[] = [];
        here.put('stays.txt', 'It stays.');
        for (const [turn, changes] of turns.entries()) {
          for (const change of changes) {
            if ('write' in change) {
              here.put(change.write, sentence(change.text));
              files.set(change.write, sentence(change.text));
            } else if ('remove' in change) {
              rmSync(join(here.notes, change.remove), { force: true });
              files.delete(change.remove);
            } else if ('lines' in change) {
              lines = change.lines.map((id) => `{"id":"${id}","text":"${sentence(id)} ${turn}"}`);
              here.put('many.jsonl', lines.join('\n'));
            } else if (files.has(change.rename) && change.rename !== change.to) {
              mkdirSync(dirname(join(here.notes, change.to)), { recursive: true });
              renameSync(join(here.notes, change.rename), join(here.notes, change.to));
              files.set(change.to, files.get(change.rename)!);
              files.delete(change.rename);
            }
          }
          await sync(here);
          const wanted = [...files].map(([id, text]) => [id, documentHash(text)]);
          for (const line of lines) {
            const { id, text } = JSON.parse(line);
            wanted.push([id, documentHash(text)]);
          }
          const stored = (await listDocuments(here.store)).map(({ id, hash }) => [id, hash]);
          const own = stored.filter(([id]) => id !== 'other.txt' && id !== 'stays.txt');
          expect(own.sort()).toEqual(wanted.sort());
        }
        expect((await verifyDatastore(here.store)).problems).toEqual([]);
        rmSync(dirname(here.store), { recursive: true });
      }),
      { numRuns: Number(process.env.KNNLM_SEQUENCES ?? 3) },
    );
  });

  it('gives the entries of a build of the folder as it is', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'b.txt': sentence('Ben') });
    await sync(here);
    here.put('a.txt', sentence('Amy'));
    renameSync(join(here.notes, 'b.txt'), join(here.notes, 'c.txt'));
    await sync(here);
    await removeDocuments(here.store, { ids: ['other.txt'] });
    await compactStore(here.store, { selfTune: false });
    const fresh = join(dirname(here.store), 'fresh');
    const options = { model: modelPath, window: 64, stride: 32, settings: { k: 4 } };
    await buildDatastore([here.notes], { out: fresh, ...options });
    const read = async (path: string) => {
      const store = await opened(path);
      const documents = [...store.documents].sort((one, other) => (one.id < other.id ? -1 : 1));
      return await Promise.all(
        documents.map(async ({ id, hash, source, start, length }) => {
          return [id, hash, source, [...(await store.valueRange(start, start + length))]];
        }),
      );
    };
    expect(await read(here.store)).toEqual(await read(fresh));
  });
});

describe('a watcher that starts again', () => {
  it('reads only what has changed, and what the store does not hold any more', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'b.txt': sentence('Ben') });
    expect(await statesOf(here)).toEqual({ 'a.txt': 'read', 'b.txt': 'read' });
    await sync(here);
    expect(await statesOf(here)).toEqual({ 'a.txt': 'noted', 'b.txt': 'noted' });
    here.put('b.txt', sentence('Bea'));
    expect(await statesOf(here)).toEqual({ 'a.txt': 'noted', 'b.txt': 'read' });
    await sync(here);
    await removeDocuments(here.store, { ids: ['a.txt'] });
    expect(await statesOf(here)).toEqual({ 'a.txt': 'read', 'b.txt': 'noted' });
    await sync(here);
    expect(await ids(here.store)).toEqual(['a.txt', 'b.txt']);
    // A note that is damaged or gone costs reading, nothing else.
    writeFileSync(join(here.store, 'watch.json'), '{"format":"knnlm-watch"');
    expect(await statesOf(here)).toEqual({ 'a.txt': 'read', 'b.txt': 'read' });
    expect((await sync(here)).synced).toBeUndefined();
    expect(await statesOf(here)).toEqual({ 'a.txt': 'noted', 'b.txt': 'noted' });
  });

  it('takes over a folder that was built or added, and finds what was deleted meanwhile', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'b.txt': sentence('Ben') });
    here.put('many.jsonl', `{"id":"x","text":"${sentence('Xena')}"}\n{"text":"Second."}\n`);
    await addDocuments(here.store, [here.notes]);
    rmSync(join(here.notes, 'b.txt'));
    here.put('many.jsonl', `{"id":"x","text":"${sentence('Xena')}"}\n`);
    const { synced } = await sync(here, { model: '/no/model/is/needed' });
    expect([...synced!.removed].sort()).toEqual(['b.txt', 'many.jsonl#2']);
    expect(await ids(here.store)).toEqual(['a.txt', 'x']);
  });

  it('reads pairs for a store of pairs, and no texts', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'b.tsv': 'Guten Tag\tGood day\n\nJa\tYes\n' });
    const { documents: table } = await opened(here.store);
    const options = { folders: [here.notes], store: here.store, settleMs: 0, onSkip: () => {} };
    const { files } = await look(
      { record: {}, table, firstSeen: new Map() },
      { ...options, pairs: {} },
    );
    expect([...files.keys()]).toEqual([join(here.notes, 'b.tsv')]);
    const [{ state, documents = [] } = {}] = files.values();
    expect(state).toBe('read');
    const hashes = [
      ['Guten Tag', 'Good day'],
      ['Ja', 'Yes'],
    ].map(([from, to]) => documentHash(to!, from));
    expect(documents.map(({ hash }) => hash)).toEqual(hashes);
    expect(documents.map(({ id }) => id)).toEqual(['b.tsv#1', 'b.tsv#3']);
  });

  it('leaves no name of a removed document in the files after a compaction', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'secret.txt': sentence('Sue') });
    await sync(here);
    const isNamed = () =>
      readdirSync(here.store, { recursive: true, withFileTypes: true }).some(
        (file) =>
          file.isFile() && readFileSync(join(file.parentPath, file.name)).includes('secret'),
      );
    expect(readFileSync(join(here.store, 'watch.json'), 'utf8')).toContain('secret');
    rmSync(join(here.notes, 'secret.txt'));
    await removeDocuments(here.store, { ids: ['secret.txt'] });
    writeFileSync(join(here.store, 'watch.json.tmp'), 'secret');
    await compactStore(here.store, { selfTune: false });
    expect(isNamed()).toBe(false);
    await sync(here);
    expect(await ids(here.store)).toEqual(['a.txt']);
    expect(isNamed()).toBe(false);
  });

  it('finishes what one that was killed has begun', async () => {
    const here = place(
      Object.fromEntries(['a', 'b', 'c'].map((id) => [`${id}.txt`, sentence(id)])),
    );
    await sync(here);
    here.put('a.txt', sentence('Amy'));
    rmSync(join(here.notes, 'b.txt'));
    renameSync(join(here.notes, 'c.txt'), join(here.notes, 'd.txt'));
    const preload = new URL('../../bench/living/kill-at.js', import.meta.url).href;
    const killed = await Promise.all(
      [12, 29].map(async (at) => {
        const store = `${here.store}-${at}`;
        cpSync(here.store, store, { recursive: true });
        const child = spawn(
          process.execPath,
          ['--import', preload, command, 'watch', store, here.notes, '--once', '--settle', '0.1'],
          { stdio: 'ignore', env: { ...process.env, KNNLM_KILL_AT: `${at}` } },
        );
        const signal = await new Promise((resolve) => child.once('exit', (_, by) => resolve(by)));
        expect((await verifyDatastore(store)).problems).toEqual([]);
        await sync({ ...here, store });
        expect(await ids(store)).toEqual(['a.txt', 'd.txt']);
        expect(await hashOf(store, 'a.txt')).toBe(documentHash(sentence('Amy')));
        return signal;
      }),
    );
    expect(killed).toContain('SIGKILL');
  });
});

describe('files as they are found', () => {
  it('keep their entries when they are renamed, whatever the model', async () => {
    const here = place({ 'a.txt': sentence('Anna'), 'sub/b.txt': sentence('Ben') });
    await sync(here);
    renameSync(join(here.notes, 'sub'), join(here.notes, 'other'));
    renameSync(join(here.notes, 'a.txt'), join(here.notes, 'z.txt'));
    const { synced } = await sync(here, { model: '/no/model/is/needed' });
    expect(synced).toMatchObject({ entries: 0, updated: [] });
    expect(synced!.moved.map(({ from, to }) => `${from} ${to}`).sort()).toEqual([
      'a.txt z.txt',
      'sub/b.txt other/b.txt',
    ]);
    expect(await ids(here.store)).toEqual(['other/b.txt', 'z.txt']);
    expect((await verifyDatastore(here.store)).problems).toEqual([]);
  });

  it('are read when they have rested, by our clock where theirs is ahead', async () => {
    const here = place();
    const path = here.put('log.txt', 'Once upon a time');
    const { outcome, synced } = await sync(here, { settleMs: 60_000 });
    expect(synced).toBeUndefined();
    expect(outcome).toMatchObject({ open: [path], failed: 0, files: 1 });
    expect(outcome.againInMs).toBeGreaterThan(30_000);
    utimesSync(path, Date.now() / 1000, Date.now() / 1000 + 86_400);
    const one = new FolderSync(here.store, [here.notes], { model, settleMs: 100 });
    const turn = async () => (await turnOf(one)).outcome;
    expect(await turn()).toMatchObject({ open: [path], hasChanged: false });
    await sleep(150);
    expect(await turn()).toMatchObject({ open: [], hasChanged: true });
    await one.close();
  });

  it('that cannot be read keep what is stored of them, and are told once', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    here.put('many.jsonl', '{"id":"x","text":"One."}\n{"id":"y","text":"Two."}\n');
    const one = new FolderSync(here.store, [here.notes], { model, settleMs: 0 });
    const turn = () => turnOf(one);
    await turn();
    here.put('many.jsonl', '{"id":"x","text":"One."}\n{"id":"y","text":');
    here.put('binary.txt', Buffer.from([1, 0, 2]));
    const broken = await turn();
    expect(skips(broken.events)).toEqual([
      expect.stringContaining('is binary'),
      expect.stringContaining('many.jsonl:2: expected'),
    ]);
    expect(broken.outcome).toMatchObject({ failed: 1, files: 3, hasChanged: false });
    expect((await turn()).events).toEqual([]);
    expect(await ids(here.store)).toEqual(['a.txt', 'x', 'y']);
    here.put('many.jsonl', '{"id":"y","text":"Two."}\n');
    expect((await turn()).outcome).toMatchObject({ failed: 0, hasChanged: true });
    expect(await ids(here.store)).toEqual(['a.txt', 'y']);
    await one.close();
  });

  it.skipIf(process.getuid?.() === 0)(
    'in a subfolder that may not be listed keep theirs',
    async () => {
      const here = place({ 'a.txt': sentence('Anna'), 'sub/b.txt': sentence('Ben') });
      await sync(here);
      chmodSync(join(here.notes, 'sub'), 0);
      onTestFinished(() => chmodSync(join(here.notes, 'sub'), 0o700));
      expect(skips((await sync(here)).events).join()).toContain('permission denied');
      expect(await ids(here.store)).toEqual(['a.txt', 'sub/b.txt']);
    },
  );

  it('with the id of another file are passed over until that one is gone', async () => {
    const here = place({ 'a.jsonl': '{"id":"x","text":"One."}\n' });
    here.put('b.jsonl', '{"id":"x","text":"Two."}\n{"id":"y","text":"Three."}\n');
    const { events } = await sync(here);
    expect(skips(events)).toEqual([expect.stringContaining('its id "x" is that of a document in')]);
    expect(await hashOf(here.store, 'x')).toBe(documentHash('One.'));
    expect((await sync(here)).synced).toBeUndefined();
    rmSync(join(here.notes, 'a.jsonl'));
    expect((await sync(here)).synced).toMatchObject({ updated: ['x'], removed: [] });
    expect(await hashOf(here.store, 'x')).toBe(documentHash('Two.'));
  });

  it('are read once, by their own name, when links lead to them too', async () => {
    const here = place({ 'sub/real.txt': sentence('Rita') });
    symlinkSync('sub/real.txt', join(here.notes, 'a-link.txt'));
    symlinkSync('.', join(here.notes, 'loop'));
    symlinkSync('nowhere.txt', join(here.notes, 'dangling.txt'));
    await sync(here);
    expect(await ids(here.store)).toEqual(['sub/real.txt']);
    const elsewhere = join(dirname(here.notes), 'elsewhere.txt');
    writeFileSync(elsewhere, sentence('Elsa'));
    symlinkSync(elsewhere, join(here.notes, 'elsa.txt'));
    await sync(here);
    writeFileSync(elsewhere, sentence('Ella'));
    expect((await sync(here)).synced).toMatchObject({ updated: ['elsa.txt'] });
  });
});

describe('a watched folder', () => {
  it('that is gone, or an empty one in its place, keeps what is stored; an emptied one does not', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    await sync(here);
    const away = `${here.notes}-away`;
    renameSync(here.notes, away);
    expect(skips((await sync(here)).events)).toEqual([expect.stringContaining('does not exist')]);
    mkdirSync(here.notes);
    expect(skips((await sync(here)).events)).toEqual([expect.stringContaining('not mounted')]);
    expect(await ids(here.store)).toEqual(['a.txt']);
    rmSync(here.notes, { recursive: true });
    renameSync(away, here.notes);
    rmSync(join(here.notes, 'a.txt'));
    expect((await sync(here)).synced).toMatchObject({ removed: ['a.txt'] });
  });

  it('may hold the store itself, which is passed over', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    const store = join(here.notes, 'inside.knn');
    cpSync(here.store, store, { recursive: true });
    const { events } = await sync({ ...here, store });
    expect(skips(events)).toEqual([]);
    expect(await ids(store)).toEqual(['a.txt']);
  });

  it.each([
    [[], 'No folder was named'],
    [['nowhere'], 'does not exist'],
    [['file'], 'is not a folder'],
    [['store'], 'is in the store itself'],
  ])('must be one: %j', async (names, message) => {
    const here = place({ 'a.txt': 'x' });
    const paths: Record<string, string> = { store: here.store, file: join(here.notes, 'a.txt') };
    const watching = watchFolders(
      here.store,
      (names as string[]).map((name) => paths[name] ?? name),
    );
    await expect(watching.next()).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(message),
    });
  });

  it('waits for another writer, and says so; with once that is an error', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    const other = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)']);
    onTestFinished(() => void other.kill());
    const lock = join(here.store, 'lock');
    writeFileSync(lock, JSON.stringify({ pid: other.pid, host: hostname(), started: '' }));
    const once = watchFolders(here.store, [here.notes], { model, once: true, settleMs: 100 });
    await once.next();
    await expect(once.next()).rejects.toMatchObject({ code: 'STORE_LOCKED' });
    const events: string[] = [];
    for await (const event of watchFolders(here.store, [here.notes], { model, settleMs: 100 })) {
      events.push(event.event);
      if (event.event === 'waiting') {
        expect(event.reason).toContain(`process ${other.pid}`);
        rmSync(lock);
      }
      if (event.event === 'in-step') break;
    }
    expect(events).toEqual(['watching', 'waiting', 'synced', 'in-step']);
  });

  it('is compacted when its removed documents have become many', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    const { header } = await opened(here.store);
    const writer = await DatastoreWriter.open(here.store, header, { mode: 'add' });
    const length = 50_001;
    const hash = documentHash('much');
    await writer.beginDocument({ id: 'much', source: 'test', hash, length });
    await writer.append(new Float32Array(length * header.key.dim), new Uint32Array(length));
    await writer.endDocument();
    await writer.finish(null);
    await removeDocuments(here.store, { ids: ['much'] });
    const { events } = await sync(here);
    expect(events.at(-1)).toMatchObject({ event: 'compacted', removedDocuments: 1, segments: 3 });
    expect(readdirSync(join(here.store, 'segments'))).toEqual(['000000']);
    expect(await statesOf(here)).toEqual({ 'a.txt': 'noted' });
    expect(await ids(here.store)).toEqual(['a.txt']);
  });

  it('is watched from the command line, one event a line, until Ctrl-C', async () => {
    const here = place({ 'a.txt': sentence('Anna') });
    const args = ['watch', here.store, here.notes, '--json', '--settle', '0.1'];
    const child = spawn(process.execPath, [command, ...args]);
    onTestFinished(() => void child.kill('SIGKILL'));
    const ended = new Promise((resolve) => child.once('exit', resolve));
    const seen: string[] = [];
    let printed = '';
    child.stdout.on('data', (text) => {
      printed += text;
      const events = printed
        .split('\n')
        .slice(0, -1)
        .map((line) => JSON.parse(line));
      for (const { event } of events.slice(seen.length)) {
        seen.push(event);
        const inStep = seen.filter((name) => name === 'in-step').length;
        if (event !== 'in-step') continue;
        if (inStep === 1) here.put('b.txt', sentence('Ben'));
        else child.kill('SIGINT');
      }
    });
    expect(await ended).toBe(130);
    expect(seen).toEqual(['watching', 'synced', 'in-step', 'synced', 'in-step']);
    expect(await ids(here.store)).toEqual(['a.txt', 'b.txt']);
    expect(readdirSync(here.store)).not.toContain('lock');
  });
});
