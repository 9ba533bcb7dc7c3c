/**
 * The stores that `bench/fuzz-store.js` damages: three segments, one document removed, another updated, and each with another kind
 * of index; and what each must say while it is whole.
 */
import { cpSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readWatchRecord, writeWatchRecord } from '../../dist/datastore/watch-record.js';
import {
  compactDatastore,
  compactStore,
  Datastore,
  indexStore,
  openIndex,
  removeDocuments,
  verifyDatastore,
  verifyStore,
} from '../../dist/index.js';
import { markSources } from '../../dist/indexes/ivf/ivf-header.js';
import { newMilvusHeader, writeMilvusHeader } from '../../dist/indexes/milvus/milvus-header.js';
import { describeIndex } from '../../dist/knnlm/index-folder.js';
import { DIM, fakeDocument, writeStore } from './fake-documents.js';

const asked = fakeDocument('a', 0, 9).keys;

/** Documents are long where product codes are learned of them. */
async function base(path, length) {
  await writeStore(path, [fakeDocument('a', 0, length), fakeDocument('b', 0, length - 2)]);
}

async function change(path) {
  await writeStore(path, [fakeDocument('c', 0, 5)], { mode: 'add' });
  await writeStore(path, [fakeDocument('c', 1, 6)], { mode: 'add', replace: true });
  await removeDocuments(path, { ids: ['b'] });
}

const MAKERS = {
  /** 8-bit lists over the first segment. */
  async ivf(path) {
    await base(path, 9);
    await indexStore(path, { lists: 3, threads: 1 });
    await change(path);
  },
  /** Product codes of it. */
  async product(path) {
    await base(path, 40);
    await indexStore(path, { lists: 3, threads: 1, codes: 'pq8' });
    await change(path);
  },
  /** Product codes in place of its keys. */
  async keyless(path) {
    await base(path, 40);
    await indexStore(path, { lists: 3, threads: 1, codes: 'pq8', dropKeys: true });
    await change(path);
  },
  /** A note of a server, which is not asked; and one of a watched folder. */
  async milvus(path) {
    await base(path, 9);
    const opened = await Datastore.open(path);
    const sources = await markSources(opened.keySources(), DIM);
    await opened.close();
    const partition = { name: 'knnlm1_0123456789ab_0_01234567', number: 0 };
    mkdirSync(join(path, 'index'));
    await writeMilvusHeader(join(path, 'index'), {
      ...newMilvusHeader({
        url: 'milvus://127.0.0.1:1/notes',
        partition,
        dim: DIM,
        dtype: 'fp16',
        sources,
        notes: [],
        retired: [],
      }),
      entries: 16,
      sent: 16,
      index: { type: 'IVF_FLAT', params: { nlist: 16 } },
      settings: { params: { nprobe: 8 }, rerank: 0 },
      evidence: { recall: 1, error: 0 },
    });
    await change(path);
    const files = { 'a.txt': { signature: '1 2 3 4', digest: 'x' } };
    await writeWatchRecord(path, { '/notes': { identity: '1 2', files } });
  },
};

/** Everything a store says, short of its keys. */
async function answersOf(path) {
  const opened = await Datastore.open(path);
  try {
    const documents = [...opened.documents];
    const rows = Array.from({ length: opened.entries }, (_, i) => opened.documents.locate(i));
    const values = [...(await opened.valueRange(0, opened.entries))];
    const sources = opened
      .keySources(opened.dropped?.entries)
      .map(({ count, dtype, byteOffset }) => [count, dtype, byteOffset]);
    const { header, settings, dropped } = opened;
    const excluded = opened.excludedRanges();
    return JSON.stringify([documents, rows, values, sources, excluded, header, settings, dropped]);
  } finally {
    await opened.close();
  }
}

/** What searches by the index say, every list read. */
async function foundIn(path) {
  const opened = await Datastore.open(path);
  let index;
  try {
    const { dropped, keyDim: dim } = opened;
    index = await openIndex({
      sources: opened.keySources(dropped?.entries),
      dim,
      threads: 1,
      memoryBytes: 2 ** 20,
      indexFolder: join(path, 'index'),
      dropped,
    });
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

/** What a note of a server says, and that it can be opened; nothing is asked of the server. */
async function noteOf(path) {
  const opened = await Datastore.open(path);
  try {
    const description = await describeIndex(path);
    const index = await openIndex({
      sources: opened.keySources(),
      dim: DIM,
      threads: 1,
      indexFolder: join(path, 'index'),
    });
    const { kind, size } = index;
    await index.close();
    return JSON.stringify([description, kind, size, await readWatchRecord(path)]);
  } finally {
    await opened.close();
  }
}

/** @returns {Promise<object[]>} one subject per maker, its pristine copy made in the folder */
export async function makeSubjects(folder) {
  const subjects = [];
  for (const [name, make] of Object.entries(MAKERS)) {
    const pristine = join(folder, `${name}-pristine`);
    const path = join(folder, name);
    await make(pristine);
    cpSync(pristine, path, { recursive: true });
    const files = readdirSync(pristine, { recursive: true, withFileTypes: true })
      .filter((file) => file.isFile())
      .map((file) => join(file.parentPath, file.name).slice(pristine.length + 1))
      .sort();
    const found = name === 'milvus' ? noteOf : foundIn;
    subjects.push({
      name,
      path,
      pristine,
      /** Name to bytes. */
      original: Object.fromEntries(files.map((file) => [file, readFileSync(join(pristine, file))])),
      answers: answersOf,
      found,
      truth: await answersOf(pristine),
      foundTruth: await found(pristine),
      /** A server would be asked. */
      verify: name === 'milvus' ? verifyDatastore : verifyStore,
      compact: name === 'keyless' ? (store) => compactStore(store) : compactDatastore,
      restore: (file) => writeFileSync(join(path, file), readFileSync(join(pristine, file))),
    });
  }
  return subjects;
}
