/**
 * Is anything lost, or back, when a process that changes a store dies?
 *
 *     node bench/crash.js [ROUNDS] [SEED] [EVERY]
 *
 * Adds, updates, removals, indexing and compactions run in processes of their own, which SIGKILL themselves just before their n-th
 * change of the disk, in whatever thread, for every n (with EVERY 5: every fifth); and as often again at random times. The store has an
 * inverted file that was made before one of its documents was removed. After each kill the store is opened by this process, which has
 * been told what was acknowledged: documents that must be there must be there with every entry, those
 * that were removed must not, the one under way may be in its old state or its new one, `verify` must find nothing.
 * Then the change is made again to its end, over the dead owner's lock, and the store must be what it would have been;
 * after a compaction byte for byte what a fresh build gives, without a trace of the removed documents in any file, and an index made
 * then is byte for byte the one that a store that never had them gets. Searching by the index, whole or just killed, must find
 * nothing that was removed.
 *
 * Each round uses documents of other lengths. JSON on the last line.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { DatastoreWriter } from '../dist/datastore/datastore-writer.js';
import {
  compactDatastore,
  Datastore,
  indexStore,
  openIndex,
  removeDocuments,
  verifyStore,
} from '../dist/index.js';
import {
  contents,
  DIM,
  fakeDocument,
  HEADER,
  traces,
  writeDocument,
  writeStore,
  wrongs,
} from './living/fake-documents.js';

const self = fileURLToPath(import.meta.url);
const preload = fileURLToPath(new URL('living/kill-at.js', import.meta.url));
/** In memory where the system offers it: kills lose no page cache, so the medium does not matter. */
const PLACE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

const INDEXING = { threads: 1, lists: 4 };

/** @param round gives documents other lengths; in every third round one is larger than a block of checksums */
function documentsOf(round) {
  const length = (i) => 20 + ((round * 37 + i * 13) % 60);
  const make = (id, i, version = 0) =>
    fakeDocument(id, version, id === 'd1' && round % 3 === 2 ? 9000 + round : length(i + version));
  return {
    stored: ['d0', 'd1', 'd2', 'd3', 'd4', 'd5'].map((id, i) => make(id, i)),
    gone: make('d2', 2),
    added: ['a0', 'a1', 'a2'].map((id, i) => make(id, i + 7)),
    updated: [make('d1', 1, 1), make('d3', 3, 1), make('u0', 11)],
    removed: ['d0', 'd4'],
  };
}

/**
 * The changes, each made from whatever state an earlier try has left.
 * @param tell told what is begun (ids in doubt) and what is acknowledged
 */
const CHANGES = {
  async add(path, { added }, tell) {
    await write(path, added, { mode: 'add' }, tell);
  },
  async update(path, { updated }, tell) {
    await write(path, updated, { mode: 'add', replace: true }, tell);
  },
  async remove(path, { removed }, tell) {
    for (const id of removed) {
      const store = await Datastore.open(path);
      const there = store.documents.find(id);
      await store.close();
      if (!there) continue;
      tell('begin', [id]);
      await removeDocuments(path, { ids: [id] });
      tell('done');
    }
  },
  async index(path, _, tell) {
    tell('begin', []);
    await indexStore(path, INDEXING);
    tell('done');
  },
  async compact(path, _, tell) {
    tell('begin', []);
    await compactDatastore(path);
    tell('done');
  },
};

async function write(path, documents, options, tell) {
  const writer = await DatastoreWriter.open(path, HEADER, options);
  for (const document of documents) {
    if (writer.claim(document.record.id, document.record.hash) === 'done') continue;
    tell('begin', [document.record.id]);
    await writeDocument(writer, document, 16);
    await writer.commit();
    tell('done');
  }
  await writer.finish(null);
}

/** State after a change: id → document. */
function after(change, state, { added, updated, removed }) {
  const next = new Map(state);
  if (change === 'add') for (const document of added) next.set(document.record.id, document);
  if (change === 'update') for (const document of updated) next.set(document.record.id, document);
  if (change === 'remove') for (const id of removed) next.delete(id);
  return next;
}

if (process.argv[2] === '--child') {
  const [, , , path, change, round] = process.argv;
  const tell = (what, ids) => process.stdout.write(`${JSON.stringify([what, ids])}\n`);
  process.stdout.write('["open"]\n');
  await CHANGES[change](path, documentsOf(Number(round)), tell);
  process.stdout.write('["end"]\n');
  process.exit();
}

/** Runs a change in a process of its own. @returns whether it was killed, and what it told */
function run(path, change, round, { at, afterMs } = {}) {
  const child = spawn(
    process.execPath,
    ['--import', preload, self, '--child', path, change, round],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...(at !== undefined && { KNNLM_KILL_AT: at }) },
    },
  );
  let told = '';
  let errors = '';
  let opened;
  child.stdout.on('data', (text) => {
    told += text;
    if (opened !== undefined) return;
    opened = performance.now();
    if (afterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), afterMs);
  });
  child.stderr.on('data', (text) => {
    errors += text;
  });
  return new Promise((resolve, reject) => {
    child.on('close', (code, signal) => {
      if (code) return reject(new Error(errors));
      const lines = told.split('\n').slice(0, -1);
      const events = lines.map((line) => JSON.parse(line));
      resolve({ killed: signal === 'SIGKILL', events, ms: performance.now() - opened });
    });
  });
}

/** What may be stored under each id, given what a killed change had told. */
function allowedAfter(change, state, documents, events) {
  const target = after(change, state, documents);
  const allowed = new Map([...state].map(([id, document]) => [id, [document]]));
  let begun = [];
  for (const [what, ids] of events) {
    if (what === 'begin') begun = ids;
    for (const id of begun) {
      if (what === 'begin') allowed.set(id, [state.get(id), target.get(id)]);
      else if (target.has(id)) allowed.set(id, [target.get(id)]);
      else allowed.delete(id);
    }
    if (what === 'done') begun = [];
  }
  return allowed;
}

/**
 * What is wrong with a store's index: it may be gone, but not damaged; nothing removed is found by it; and where it is whole, most
 * keys find themselves.
 */
async function indexWrongs(path, gone) {
  const found = (await verifyStore(path)).problems.map(({ problem }) => `index: ${problem}`);
  const store = await Datastore.open(path);
  const sources = store.keySources();
  const index = await openIndex({
    sources,
    dim: DIM,
    indexFolder: join(path, 'index'),
    threads: 1,
  });
  const living = [...store.documents].filter(({ id }) => made.has(id));
  const exclude = store.excludedRanges();
  let own = 0;
  for (const { id, start } of living) {
    const { keys } = made
      .get(id)
      .find(({ record }) => record.hash === store.documents.find(id).hash);
    const { ids } = await index.search(keys.subarray(0, DIM), { k: 4, exclude });
    if (ids.includes(start)) own++;
  }
  if (own < living.length / 2) found.push(`lost: ${own} of ${living.length} are found`);
  for (const { keys, record } of gone) {
    const { ids } = await index.search(keys.subarray(0, DIM), { k: 4, exclude });
    for (const id of ids) {
      if (id >= 0 && store.documents.locate(id).document.hash === record.hash)
        found.push(`back: ${record.id} is found`);
    }
  }
  await index.close();
  await store.close();
  return found;
}

/** The lists of an index, whatever they are called. */
const listsOf = (path) =>
  Object.entries(contents(join(path, 'index')))
    .filter(([name]) => name.endsWith('.bin'))
    .map(([, digest]) => digest)
    .join();

const [rounds = 4, seed = 1, every = 1] = process.argv.slice(2).map(Number);
let random = seed;
const nextRandom = () => {
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  return random / 2 ** 32;
};
const folder = mkdtempSync(join(PLACE, 'knnlm-crash-'));
/** id → every version of the round's documents. */
let made = new Map();
const totals = { kills: 0, lost: 0, back: 0, other: 0, notRecovered: 0 };
const perChange = {};

/** Kills one change once, looks, repeats it to its end, looks again. @returns whether it was killed */
async function killOnce(base, { change, round, state, wanted }, moment) {
  const documents = documentsOf(round);
  const path = join(folder, 'store');
  rmSync(path, { recursive: true, force: true });
  cpSync(base, path, { recursive: true });
  const { killed, events } = await run(path, change, round, moment);
  if (!killed) return false;
  totals.kills++;
  perChange[change] = (perChange[change] ?? 0) + 1;
  const found = await wrongs(path, allowedAfter(change, state, documents, events));
  const indexWrong = await indexWrongs(path, [documents.gone]);
  await CHANGES[change](path, documents, () => {});
  const target = after(change, state, documents);
  const choices = new Map([...target].map(([id, document]) => [id, [document]]));
  const later = await wrongs(path, choices);
  later.push(...(await indexWrongs(path, [documents.gone])));
  if (change === 'compact') {
    rmSync(join(path, 'index'), { recursive: true, force: true });
    if (JSON.stringify(contents(path)) !== wanted.store) later.push('not what a fresh build gives');
    const left = documents.stored.filter((d) => target.get(d.record.id) !== d);
    for (const document of left)
      for (const file of traces(path, document))
        later.push(`trace of ${document.record.id} in ${file}`);
    await indexStore(path, INDEXING);
    if (listsOf(path) !== wanted.lists) later.push('another index than that of a fresh build');
  }
  for (const text of [...found, ...indexWrong]) {
    if (text.startsWith('lost')) totals.lost++;
    else if (text.startsWith('back')) totals.back++;
    else totals.other++;
  }
  if (later.length > 0) totals.notRecovered++;
  if (found.length + indexWrong.length + later.length > 0)
    console.error(
      `${change}, round ${round}, ${JSON.stringify(moment)}:`,
      found,
      indexWrong,
      later,
    );
  return true;
}

const started = performance.now();
for (let round = 0; round < rounds; round++) {
  const documents = documentsOf(round);
  const first = join(folder, `first-${round}`);
  await writeStore(first, documents.stored.slice(0, 4));
  await writeStore(first, documents.stored.slice(4), { mode: 'add' });
  await indexStore(first, INDEXING);
  await removeDocuments(first, { ids: [documents.gone.record.id] });
  made = new Map();
  for (const document of [...documents.stored, ...documents.added, ...documents.updated]) {
    const { id } = document.record;
    made.set(id, [...(made.get(id) ?? []), document]);
  }
  const state = new Map(documents.stored.map((document) => [document.record.id, document]));
  state.delete(documents.gone.record.id);
  const fresh = join(folder, `fresh-${round}`);
  await writeStore(fresh, [...state.values()]);
  const store = JSON.stringify(contents(fresh));
  await indexStore(fresh, INDEXING);
  const wanted = { store, lists: listsOf(fresh) };
  for (const change of Object.keys(CHANGES)) {
    const task = { change, round, state, wanted };
    const untouched = join(folder, 'untouched');
    rmSync(untouched, { recursive: true, force: true });
    cpSync(first, untouched, { recursive: true });
    const { ms } = await run(untouched, change, round);
    let boundaries = 0;
    for (let at = round % every; await killOnce(first, task, { at }); at += every) boundaries++;
    for (let i = 0; i < boundaries; i++)
      await killOnce(first, task, { afterMs: nextRandom() * ms });
    console.error(
      `round ${round}, ${change}: ${boundaries} boundaries, ${totals.kills} kills so far`,
    );
  }
}
rmSync(folder, { recursive: true });
const seconds = Math.round((performance.now() - started) / 1000);
console.log(JSON.stringify({ ...totals, perChange, rounds, seed, every, seconds }));
