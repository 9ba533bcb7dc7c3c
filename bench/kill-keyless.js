/**
 * Is anything lost when a process that takes keys away, or changes a store without them, dies?
 *
 *     node bench/kill-keyless.js [EVERY]
 *
 * Three changes run in processes of their own, which SIGKILL themselves just before their n-th change of the disk, in whatever
 * thread, for every n (with EVERY 5: every fifth): *drop* makes codes of a store's keys and removes these, *code* does so with
 * documents that were added to a store without keys, *compact* takes removed documents out of one. After each kill the store must
 * verify and be searched, and find what it found before the change or what it finds after it, and nothing that was
 * removed. Then the change is made again to its end: the store must find what it should, and no file may be left over.
 *
 * JSON on the last line.
 */
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  compactStore,
  Datastore,
  indexStore,
  removeDocuments,
  verifyStore,
} from '../dist/index.js';
import { openStoreIndex } from '../dist/knnlm/open-store-index.js';
import { DIM, fakeDocument, writeStore } from './living/fake-documents.js';

const self = fileURLToPath(import.meta.url);
const preload = fileURLToPath(new URL('living/kill-at.js', import.meta.url));
const PLACE = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

const CHANGES = {
  drop: (path) => indexStore(path, { codes: 'pq16', dropKeys: true, threads: 1, lists: 4 }),
  code: (path) => indexStore(path, { dropKeys: true, threads: 1 }),
  compact: (path) => compactStore(path, { selfTune: false }),
};

if (process.argv[2] === '--child') {
  const [, , , path, change] = process.argv;
  await CHANGES[change](path);
  process.exit();
}

const stored = ['d0', 'd1', 'd2', 'd3'].map((id, i) => fakeDocument(id, 0, 50 + 11 * i));
const added = ['a0', 'a1'].map((id, i) => fakeDocument(id, 0, 30 + 9 * i));
const asked = [...stored, ...added];
const every = Number(process.argv[2] ?? 1);
const folder = mkdtempSync(join(PLACE, 'knnlm-kill-keyless-'));
const totals = { kills: 0, wrong: 0, notRecovered: 0 };
const perChange = {};

/** Runs a change in a process of its own. @returns whether it was killed */
function run(path, change, at) {
  const child = spawn(process.execPath, ['--import', preload, self, '--child', path, change], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, KNNLM_KILL_AT: at },
  });
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  return new Promise((resolve, reject) => {
    child.on('close', (code, signal) => {
      if (code) reject(new Error(errors));
      else resolve(signal === 'SIGKILL');
    });
  });
}

/** What is found: documents and places in them, each query's nearest first. Asked with keys of every document. */
async function findings(path) {
  const store = await Datastore.open(path);
  const index = await openStoreIndex(store);
  try {
    const queries = new Float32Array(asked.length * DIM);
    for (const [i, { keys }] of asked.entries()) queries.set(keys.subarray(0, DIM), i * DIM);
    const { ids } = await index.search(queries, { k: 5, exclude: store.excludedRanges() });
    return [...ids].map((id) => {
      const { document, offset } = store.documents.locate(id);
      return `${document.id}+${offset ?? id - document.start}`;
    });
  } finally {
    await index.close();
    await store.close();
  }
}

/** Of two lists of findings, the share that both have: what equal distances and rounding leave open is little. */
const shared = (a, b) => a.filter((place) => b.includes(place)).length / a.length;

const filesOf = (path) => readdirSync(path, { recursive: true }).map(String);
const leftOver = (path) =>
  filesOf(path)
    .filter((name) => /keys\.f|\.tmp|next|lock/.test(name))
    .concat(
      filesOf(path)
        .filter((name) => /lists-/.test(name))
        .slice(1),
    );

/** The store before each change. */
async function prepare() {
  const bases = {
    drop: join(folder, 'drop'),
    code: join(folder, 'code'),
    compact: join(folder, 'compact'),
  };
  await writeStore(bases.drop, stored);
  for (const name of ['code', 'compact']) {
    cpSync(bases.drop, bases[name], { recursive: true });
    await CHANGES.drop(bases[name]);
  }
  await writeStore(bases.code, added, { mode: 'add' });
  await removeDocuments(bases.compact, { ids: ['d1'] });
  return bases;
}

const started = performance.now();
for (const [change, base] of Object.entries(await prepare())) {
  const whole = join(folder, 'whole');
  rmSync(whole, { recursive: true, force: true });
  cpSync(base, whole, { recursive: true });
  const before = await findings(base);
  await CHANGES[change](whole);
  const after = await findings(whole);
  if (leftOver(whole).length > 0) throw new Error(`left over: ${leftOver(whole)}`);
  for (let at = 0; ; at += every) {
    const path = join(folder, 'store');
    rmSync(path, { recursive: true, force: true });
    cpSync(base, path, { recursive: true });
    if (!(await run(path, change, at))) break;
    totals.kills++;
    perChange[change] = (perChange[change] ?? 0) + 1;
    const wrong = (await verifyStore(path)).problems.map(({ problem }) => problem);
    const found = await findings(path);
    if (Math.max(shared(found, before), shared(found, after)) < 0.9)
      wrong.push('finds something else');
    if (change === 'compact' && found.some((place) => place.startsWith('d1+')))
      wrong.push('d1 is back');
    await CHANGES[change](path);
    const later = (await verifyStore(path)).problems.map(({ problem }) => problem);
    if (shared(await findings(path), after) < 0.97) later.push('finds something else');
    later.push(...leftOver(path).map((name) => `${name} is left`));
    if (wrong.length > 0) totals.wrong++;
    if (later.length > 0) totals.notRecovered++;
    if (wrong.length + later.length > 0) console.error(`${change}, ${at}:`, wrong, later);
  }
  console.error(`${change}: ${perChange[change]} kills`);
}
rmSync(folder, { recursive: true });
const seconds = Math.round((performance.now() - started) / 1000);
console.log(JSON.stringify({ ...totals, perChange, every, seconds }));
