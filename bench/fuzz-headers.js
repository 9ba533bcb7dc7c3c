/**
 * Does the reader of a manifest, an index's header or a watcher's note ever fail otherwise than in one line, hang, or return what a
 * changed byte has made of it?
 *
 *     node bench/fuzz-headers.js [INPUTS] [SEED]
 *
 * As `fuzz-store.js`, which damages whole stores and searches them, but the small files alone and by their own readers: many more inputs
 * in the same time. JSON on the last line.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readManifest } from '../dist/datastore/manifest.js';
import { readWatchRecord } from '../dist/datastore/watch-record.js';
import { KnnLMError } from '../dist/index.js';
import { readHeader } from '../dist/indexes/ivf/ivf-header.js';
import { readMilvusHeader } from '../dist/indexes/milvus/milvus-header.js';
import { makeSubjects } from './living/fuzz-subjects.js';
import { makeMutator } from './living/mutate.js';

const [inputs = 100_000, seed = 1] = process.argv.slice(2).map(Number);
const { below, oneOf, damaged, CHANGED_BY_FIELD } = makeMutator(seed);
const READERS = {
  'manifest.json': (path) => readManifest(path),
  'index/ivf.json': (path) => readHeader(join(path, 'index')),
  'index/milvus.json': (path) => readMilvusHeader(join(path, 'index')),
  'watch.json': (path) => readWatchRecord(path),
};

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'knnlm-fuzz-'));
const targets = [];
for (const { name: kind, path, original } of await makeSubjects(folder))
  for (const [name, read] of Object.entries(READERS))
    if (original[name]) {
      const truth = JSON.stringify(await read(path));
      targets.push({ kind, path, name, read, truth, bytes: original[name] });
    }

const counts = { refused: 0, withoutEffect: 0, otherContent: 0, wrong: 0 };
const perFile = {};
let slowestMs = 0;

async function tryOne() {
  const { kind, path, name, read, truth, bytes } = oneOf(targets);
  const byField = below(2) === 0;
  const changed = byField ? Buffer.from(CHANGED_BY_FIELD[name](bytes)) : damaged(bytes);
  writeFileSync(join(path, name), changed);
  const started = performance.now();
  let end;
  try {
    const said = JSON.stringify(await read(path));
    // A note that cannot be used is no note.
    const isNone = name === 'watch.json' && said === '{}';
    if (said === truth || isNone) end = 'withoutEffect';
    // Who changes a field and makes the checksum right has written another file.
    else end = byField ? 'otherContent' : `other content: ${said}`;
  } catch (error) {
    end = error instanceof KnnLMError && !error.message.includes('\n') ? 'refused' : error;
  }
  slowestMs = Math.max(slowestMs, performance.now() - started);
  if (typeof end === 'string' && end in counts) counts[end]++;
  else {
    counts.wrong++;
    console.error(kind, name, changed.toString('base64').slice(0, 4000), end);
  }
  perFile[name] = (perFile[name] ?? 0) + 1;
  writeFileSync(join(path, name), bytes);
}

for (let i = 0; i < inputs; i++) await tryOne();
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ inputs, seed, ...counts, perFile, slowestMs: Math.round(slowestMs) }));
