/**
 * Does a damaged store ever crash, hang or answer wrongly?
 *
 *     node bench/fuzz-store.js [INPUTS] [SEED]
 *
 * Takes a small store (three segments, one document removed, another updated, an inverted file over the first segment), changes one of its files (a bit, a byte, a run of bytes, its length; in the
 * manifest also a field, with the checksum left out, made right or left wrong), opens it, reads everything, verifies it, compacts it now and then; where the change is in the index, searches by it. Allowed are: what the
 * undamaged store gives, or a one-line KnnLMError. A change in the keys, which are not read at opening, must be found by
 * `verify`. JSON on the last line: how many were refused at opening, found by `verify`, without effect, and wrong.
 */
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import {
  compactDatastore,
  Datastore,
  indexStore,
  KnnLMError,
  openIndex,
  removeDocuments,
  verifyStore,
} from '../dist/index.js';
import { DIM, fakeDocument, writeStore } from './living/fake-documents.js';

const [inputs = 100_000, seed = 1] = process.argv.slice(2).map(Number);
let state = seed;
const below = (n) => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * n);
};
const oneOf = (list) => list[below(list.length)];

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'knnlm-fuzz-'));
const pristine = join(folder, 'pristine');
const store = join(folder, 'store');
await writeStore(pristine, [fakeDocument('a', 0, 9), fakeDocument('b', 0, 7)]);
await indexStore(pristine, { lists: 3, threads: 1 });
await writeStore(pristine, [fakeDocument('c', 0, 5)], { mode: 'add' });
await writeStore(pristine, [fakeDocument('c', 1, 6)], { mode: 'add', replace: true });
await removeDocuments(pristine, { ids: ['b'] });
cpSync(pristine, store, { recursive: true });

const FILES = ['manifest.json'];
const INDEX_FILES = readdirSync(join(pristine, 'index')).map((name) => `index/${name}`);
for (const segment of ['000000', '000001', '000002'])
  for (const name of ['keys.f16', 'values.u16', 'documents.jsonl'])
    FILES.push(`segments/${segment}/${name}`, `segments/${segment}/${name}.crc`);
FILES.push(...INDEX_FILES);
const original = Object.fromEntries(
  FILES.map((name) => [name, readFileSync(join(pristine, name))]),
);

/** Everything a store says, short of its keys. */
async function answersOf(path) {
  const opened = await Datastore.open(path);
  try {
    const documents = [...opened.documents];
    const rows = Array.from({ length: opened.entries }, (_, i) => opened.documents.locate(i));
    const values = [...(await opened.valueRange(0, opened.entries))];
    const sources = opened
      .keySources()
      .map(({ count, dtype, byteOffset }) => [count, dtype, byteOffset]);
    const { header, settings } = opened;
    return JSON.stringify([
      documents,
      rows,
      values,
      sources,
      opened.excludedRanges(),
      header,
      settings,
    ]);
  } finally {
    await opened.close();
  }
}

const asked = fakeDocument('a', 0, 9).keys;

/** What searches by the index say, every list read. */
async function foundIn(path) {
  const opened = await Datastore.open(path);
  const sources = opened.keySources();
  let index;
  try {
    const options = { sources, dim: DIM, threads: 1, memoryBytes: 2 ** 20 };
    index = await openIndex({ ...options, indexFolder: join(path, 'index') });
    const { ids, distances } = await index.search(asked, {
      k: 4,
      exclude: opened.excludedRanges(),
    });
    return JSON.stringify([index.kind, [...ids], [...distances]]);
  } finally {
    await index?.close();
    await opened.close();
  }
}

const VALUES = [
  null,
  -1,
  0,
  1,
  2 ** 31,
  2 ** 53,
  1e300,
  0.5,
  '',
  '../..',
  'x',
  [],
  {},
  [[0, 5]],
  true,
];

/** One field of the manifest changed; its checksum gone, made right, or wrong. */
function changedManifest() {
  const manifest = JSON.parse(original['manifest.json'].toString());
  delete manifest.checksum;
  let parent = manifest;
  for (;;) {
    const key = oneOf(Object.keys(parent));
    const inner = parent[key];
    if (
      typeof inner === 'object' &&
      inner !== null &&
      Object.keys(inner).length > 0 &&
      below(4) > 0
    ) {
      parent = inner;
      continue;
    }
    if (below(6) === 0) delete parent[key];
    else parent[key] = oneOf(VALUES);
    break;
  }
  const text = JSON.stringify(manifest, null, 2).slice(0, -2);
  const checksum = (crc32(text) + below(2)).toString(16).padStart(8, '0');
  // Only these may change what the store says: somebody wrote them on purpose.
  return below(2) === 0 ? `${text}\n}\n` : `${text},\n  "checksum": "${checksum}"\n}\n`;
}

/** @returns a damaged copy of some bytes */
function damaged(bytes) {
  const out = Buffer.from(bytes);
  const at = below(bytes.length);
  switch (below(6)) {
    case 0:
      out[at] ^= 1 << below(8);
      return out;
    case 1:
      out[at] = below(256);
      return out;
    case 2:
      return out.subarray(0, at);
    case 3:
      return Buffer.concat([out, Buffer.from(out.subarray(at, at + 1 + below(20)))]);
    case 4:
      return Buffer.concat([
        out.subarray(0, at),
        out.subarray(Math.min(out.length, at + 1 + below(20))),
      ]);
    default:
      for (let i = at; i < Math.min(out.length, at + 1 + below(30)); i++) out[i] = below(256);
      return out;
  }
}

const truth = await answersOf(pristine);
const foundTruth = await foundIn(pristine);
const counts = {
  inIndex: 0,
  refused: 0,
  foundByVerify: 0,
  withoutEffect: 0,
  otherManifest: 0,
  wrong: 0,
};
let slowestMs = 0;

async function tryOne() {
  const byField = below(4) === 0;
  const name = byField ? 'manifest.json' : oneOf(FILES);
  const bytes = byField ? Buffer.from(changedManifest()) : damaged(original[name]);
  writeFileSync(join(store, name), bytes);
  const same = bytes.equals(original[name]);
  const started = performance.now();
  try {
    const said = await answersOf(store);
    const { problems } = await verifyStore(store);
    const isWhole = problems.length === 0;
    const inIndex = INDEX_FILES.includes(name);
    if (inIndex) {
      counts.inIndex++;
      if (isWhole && !(same || name === 'index/ivf.json'))
        wrong(name, bytes, 'not found by verify');
      if ((await foundIn(store)) !== foundTruth) wrong(name, bytes, 'other neighbors');
    }
    if (isWhole && below(50) === 0) await compactDatastore(store);
    if (!isWhole) counts.foundByVerify++;
    else if (said === truth && (same || name === 'manifest.json' || inIndex))
      counts.withoutEffect++;
    else if (byField) counts.otherManifest++;
    else wrong(name, bytes, 'other answers');
    if (said !== truth && !isWhole && !byField) wrong(name, bytes, 'other answers before verify');
  } catch (error) {
    if (error instanceof KnnLMError && !error.message.includes('\n')) counts.refused++;
    else wrong(name, bytes, error);
  }
  slowestMs = Math.max(slowestMs, performance.now() - started);
  writeFileSync(join(store, name), original[name]);
}

function wrong(name, bytes, what) {
  counts.wrong++;
  console.error(name, bytes.toString('base64').slice(0, 200), what);
}

const began = performance.now();
for (let i = 0; i < inputs; i++) {
  await tryOne();
  if (!existsSync(join(store, 'segments/000001'))) {
    // It was compacted.
    rmSync(store, { recursive: true });
    cpSync(pristine, store, { recursive: true });
  }
  if (i % 10_000 === 9_999) console.error(`${i + 1} inputs, ${counts.wrong} wrong`);
}
rmSync(folder, { recursive: true });
const seconds = Math.round((performance.now() - began) / 1000);
console.log(JSON.stringify({ inputs, seed, ...counts, slowestMs: Math.round(slowestMs), seconds }));
