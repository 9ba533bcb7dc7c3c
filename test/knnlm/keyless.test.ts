import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compactDatastore } from '../../dist/datastore/compact-datastore.js';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import { readManifest, type StoreHeader } from '../../dist/datastore/manifest.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import type { Neighbors, SearchOptions } from '../../dist/indexes/vector-index.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { dropKeys } from '../../dist/knnlm/drop-keys.js';
import { removeIndex } from '../../dist/knnlm/index-folder.js';
import { indexStore } from '../../dist/knnlm/index-store.js';
import { keepIndexed } from '../../dist/knnlm/keep-indexed.js';
import { openStoreIndex } from '../../dist/knnlm/open-store-index.js';
import { removeWithReceipt } from '../../dist/knnlm/removal-receipt.js';
import { Snapshot } from '../../dist/knnlm/snapshot.js';
import { describeStore, type StoreInfo } from '../../dist/knnlm/store-info.js';
import { verifyStore } from '../../dist/knnlm/verify-store.js';
import { clustered } from '../indexes/vectors.ts';

const dim = 16;
const header: StoreHeader = {
  model: { name: 'none', family: 'none', file: 'none.onnx', contextLength: 64 },
  fingerprint: { weights: 'w', tokenizer: 't', dtype: 'fp32', keyTensor: 'k', provider: 'cpu' },
  key: { name: null, tensor: 'k', dim, dtype: 'fp16' },
  vocabSize: 50,
  bos: 0,
  eos: 1,
  window: 64,
  stride: 32,
};
const settings = { k: 100, lambda: 0.5, temperature: 4, source: 'given' as const };
const lengths = [900, 700, 1200, 300, 900];
const queries = clustered(30, dim, 50, 99);
let root: string;
/** A store with keys and one without, of the same documents: copied by each test. */
let keyed: string;
let keyless: string;

async function write(path: string, ids: number[], mode: 'build' | 'add'): Promise<void> {
  const writer = await DatastoreWriter.open(path, header, { mode });
  for (const i of ids) {
    const length = lengths[i % 5]!;
    const hash = documentHash(`document ${i}`);
    await writer.beginDocument({ id: `d${i}`, source: 'test', hash, length });
    const values = Uint32Array.from({ length }, (_, row) => (row + i) % 50);
    await writer.append(clustered(length, dim, 50, i), values);
    await writer.endDocument();
  }
  await writer.finish(mode === 'build' ? settings : null);
}

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'knnlm-keyless-'));
  keyed = join(root, 'keyed');
  await write(keyed, [0, 1, 2, 3, 4], 'build');
  keyless = copy(keyed);
  await indexStore(keyless, { codes: 'pq8', dropKeys: true, threads: 2 });
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

let copies = 0;
function copy(store: string): string {
  const path = join(root, `copy${copies++}`);
  cpSync(store, path, { recursive: true });
  return path;
}

async function search(store: string, options: Partial<SearchOptions> = {}): Promise<Neighbors> {
  const datastore = await Datastore.open(store);
  try {
    const index = await openStoreIndex(datastore);
    try {
      const exclude = datastore.excludedRanges();
      return await index.search(queries, { k: 40, exclude, ...options });
    } finally {
      await index.close();
    }
  } finally {
    await datastore.close();
  }
}

async function described(store: string): Promise<StoreInfo> {
  const datastore = await Datastore.open(store);
  try {
    return await describeStore(datastore);
  } finally {
    await datastore.close();
  }
}

const keyFiles = (store: string): string[] =>
  (readdirSync(store, { recursive: true }) as string[]).filter((name) => /keys\.f/.test(name));

/** Share of neighbors found in both, and how far apart distances are, relative to their size. */
function compare(found: Neighbors, other: Neighbors, rename = (id: number) => id) {
  let shared = 0;
  let worst = 0;
  for (let row = 0; row < other.ids.length; row += other.k) {
    const distances = new Map<number, number>();
    for (let i = row; i < row + other.k; i++) {
      distances.set(rename(other.ids[i]!), other.distances[i]!);
    }
    for (let i = row; i < row + found.k; i++) {
      const distance = distances.get(found.ids[i]!);
      if (distance === undefined) continue;
      shared++;
      worst = Math.max(worst, Math.abs(distance - found.distances[i]!) / (1 + distance));
    }
  }
  return { shared: shared / other.ids.length, worst };
}

describe('a store without keys', () => {
  it('has codes in their place, and is searched and described', async () => {
    expect(keyFiles(keyed)).toHaveLength(2);
    expect(keyFiles(keyless)).toEqual([]);
    const datastore = await Datastore.open(keyless);
    const info = await describeStore(datastore);
    expect(info).toMatchObject({ hasKeys: false, entries: 4000, index: { codes: 'pq8' } });
    expect(info.bytes.keys).toBe(0);
    expect(info.bytes.total).toBe(
      info.bytes.index +
        info.bytes.values +
        info.bytes.documents +
        info.bytes.checksums +
        info.bytes.manifest,
    );
    await datastore.close();
    const { shared } = compare(await search(keyless), await search(keyed));
    expect(shared).toBeGreaterThan(0.6);
  });

  it('is of a format that older programs refuse, and other stores are not', async () => {
    expect(JSON.parse(readFileSync(join(keyless, 'manifest.json'), 'utf8')).version).toBe(2);
    expect(JSON.parse(readFileSync(join(keyed, 'manifest.json'), 'utf8')).version).toBe(1);
  });

  it('is verified in full, and damage to its codes is reported but not taken away', async () => {
    expect(await verifyStore(keyless)).toMatchObject({ problems: [], leftovers: [] });
    const store = copy(keyless);
    const lists = join(store, 'index', (await readManifest(store)).codes!);
    const bytes = readFileSync(lists);
    bytes[bytes.length - 9]! ^= 1;
    writeFileSync(lists, bytes);
    const { problems, repaired } = await verifyStore(store, { repair: true });
    expect(problems).toHaveLength(1);
    expect(repaired).toEqual([]);
    expect(existsSync(lists)).toBe(true);
    rmSync(lists);
    expect((await verifyStore(store)).problems).toHaveLength(1);
    await expect(search(store)).rejects.toMatchObject({
      code: expect.stringMatching(/IO|CORRUPT/),
    });
    rmSync(join(store, 'index'), { recursive: true });
    expect((await verifyStore(store)).problems).toHaveLength(1);
    await expect(search(store)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  it('says what it cannot do without keys', async () => {
    const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('dropped') };
    await expect(indexStore(keyless)).rejects.toMatchObject(refused);
    await expect(indexStore(keyless, { dropKeys: true, codes: 'pq4' })).rejects.toMatchObject(
      refused,
    );
    await expect(removeIndex(keyless)).rejects.toMatchObject(refused);
    const datastore = await Datastore.open(keyless);
    expect(() => datastore.keySources()).toThrow('were dropped');
    expect(datastore.keySources(4000)).toEqual([]);
    await datastore.close();
    await expect(indexStore(copy(keyed), { dropKeys: true, codes: 'sq8' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    await expect(dropKeys(copy(keyed))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
    const deleted = copy(keyed);
    await removeDocuments(deleted, { ids: ['d1'] });
    await expect(indexStore(deleted, { dropKeys: true })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('knnlm compact'),
    });
    const removed = copy(keyless);
    await removeDocuments(removed, { ids: ['d1'] });
    await expect(compactDatastore(removed)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  it('has nothing more to drop when it is asked again', async () => {
    const store = copy(keyless);
    const before = readFileSync(join(store, 'manifest.json'));
    expect(await indexStore(store, { dropKeys: true })).toMatchObject({
      keyBytes: 0,
      codes: 'pq8',
    });
    expect(readFileSync(join(store, 'manifest.json'))).toEqual(before);
  });

  it('loses documents at once, and their codes when it is compacted', async () => {
    const store = copy(keyless);
    const { receipt } = await removeWithReceipt(store, { ids: ['d1', 'd3'] });
    expect(receipt.checks).toMatchObject({ idsFound: 0, search: { queries: 0, found: 0 } });
    const before = await search(store);
    expect(before.ids.some((id) => (id >= 900 && id < 1600) || (id >= 2800 && id < 3100))).toBe(
      false,
    );
    const bytes = (await described(store)).bytes;
    const compaction = await compactStore(store);
    expect(compaction).toMatchObject({ entries: 3000, removedEntries: 1000, indexRemoved: false });
    const after = await search(store);
    const renamed = (id: number) => (id < 900 ? id : id < 2800 ? id - 700 : id - 1000);
    const { shared, worst } = compare(after, before, renamed);
    // But for rows of equal distance at the end, which are many here.
    expect(shared).toBeGreaterThan(0.97);
    expect(worst).toBe(0);
    expect(Math.max(...after.ids)).toBeLessThan(3000);
    const now = await described(store);
    expect(now.bytes.total).toBeLessThan(0.85 * bytes.total);
    expect(await verifyStore(store)).toMatchObject({ problems: [], leftovers: [] });
    expect(keyFiles(store)).toEqual([]);
    expect(readdirSync(join(store, 'segments'))).toEqual(['000000']);
  });

  it('takes documents, searched exactly until they are coded like the others', async () => {
    const store = copy(keyless);
    await write(store, [5, 6], 'add');
    expect(await verifyStore(store)).toMatchObject({ problems: [] });
    const whole = copy(keyed);
    await write(whole, [5, 6], 'add');
    const onlyNew = { exclude: [[0, 4000]] as const };
    const exact = await search(whole, onlyNew);
    expect((await search(store, onlyNew)).ids).toEqual(exact.ids);
    const old = await search(store, { exclude: [[4000, 5600]] });
    const result = await indexStore(store, { dropKeys: true });
    expect(result).toMatchObject({ entries: 5600, keyBytes: 1600 * dim * 2 });
    expect(keyFiles(store)).toEqual([]);
    expect(compare(await search(store, onlyNew), exact).shared).toBeGreaterThan(0.6);
    const same = compare(await search(store, { exclude: [[4000, 5600]] }), old);
    expect(same.shared).toBeGreaterThan(0.97);
    // Biases of a list are rounded anew when the new ones lie beyond them.
    expect(same.worst).toBeLessThan(0.05);
    expect(await verifyStore(store)).toMatchObject({ problems: [], leftovers: [] });
    expect(await readManifest(store)).toMatchObject({
      segments: [{ keys: false }, { keys: false }],
    });
  });

  it('is taken up by whoever had it open with keys, and requests under way end on these', async () => {
    const store = copy(keyed);
    const ask = async ({ retriever: { index } }: Snapshot) =>
      (await index.search(queries, { k: 40 })).ids;
    const open = await Snapshot.open(await Datastore.open(store), openStoreIndex);
    const exact = await ask(open);
    await indexStore(store, { codes: 'pq8', dropKeys: true, threads: 2 });
    expect(await ask(open)).toEqual(exact);
    const coded = await open.refresh(openStoreIndex);
    await open.release();
    expect(coded.info).toMatchObject({ hasKeys: false });
    expect(await ask(coded)).toEqual((await search(keyless)).ids);
    await write(store, [8], 'add');
    const grown = await coded.refresh(openStoreIndex);
    await coded.release();
    expect(Math.max(...(await ask(grown)))).toBeGreaterThanOrEqual(4000);
    await indexStore(store, { dropKeys: true, threads: 2 });
    const whole = await grown.refresh(openStoreIndex);
    await grown.release();
    expect(whole.retriever.index.size).toBe(4300);
    await whole.release();
  });

  it('codes what was added before it is compacted, and tells when that has become much', async () => {
    const store = copy(keyless);
    await write(store, [7], 'add');
    const warnings: string[] = [];
    expect(await keepIndexed(store, { onWarning: (text) => warnings.push(text) })).toBeUndefined();
    expect(warnings).toEqual([]);
    await removeDocuments(store, { ids: ['d0'] });
    expect(await compactStore(store)).toMatchObject({ entries: 4300, segments: 2 });
    expect(keyFiles(store)).toEqual([]);
    expect(Math.max(...(await search(store)).ids)).toBeGreaterThan(3100);
    expect(await verifyStore(store)).toMatchObject({ problems: [], leftovers: [] });
  });
});

describe('a store whose keys are being dropped, killed', () => {
  it('after the manifest was replaced, is without keys; the next writer removes their files', async () => {
    const store = copy(keyless);
    for (const name of ['keys.f16', 'keys.f16.crc']) {
      copyFileSync(join(keyed, 'segments/000000', name), join(store, 'segments/000000', name));
    }
    expect((await search(store)).ids).toEqual((await search(keyless)).ids);
    const { problems, leftovers } = await verifyStore(store);
    expect([problems, leftovers.length]).toEqual([[], 2]);
    await removeDocuments(store, { ids: ['d0'] });
    expect(keyFiles(store)).toEqual([]);
  });

  it('between two key files, is rid of the others when the same is asked again', async () => {
    for (const left of [['keys.f16', 'keys.f16.crc'], ['keys.f16.crc']]) {
      const store = copy(keyless);
      for (const name of left)
        copyFileSync(join(keyed, 'segments/000000', name), join(store, 'segments/000000', name));
      await indexStore(store, { dropKeys: true });
      expect(await verifyStore(store)).toMatchObject({ problems: [], leftovers: [] });
      expect(keyFiles(store)).toEqual([]);
    }
  });

  it('with new codes that count already beside the old ones, reads the new ones', async () => {
    const store = copy(keyless);
    await removeDocuments(store, { ids: ['d1'] });
    const old = copy(store);
    await compactStore(store);
    const after = await search(store);
    // As it was between the manifest and the header's renaming.
    const folder = join(store, 'index');
    renameSync(join(folder, 'ivf.json'), join(folder, 'ivf.next.json'));
    for (const name of readdirSync(join(old, 'index'))) {
      copyFileSync(join(old, 'index', name), join(folder, name));
    }
    expect(await search(store)).toEqual(after);
    expect((await verifyStore(store)).problems).toEqual([]);
    expect(await indexStore(store, { dropKeys: true })).toMatchObject({ keyBytes: 0 });
    expect(await search(store)).toEqual(after);
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it('with new codes that do not count yet, reads the old ones', async () => {
    const store = copy(keyless);
    const before = await search(store);
    const folder = join(store, 'index');
    const text = readFileSync(join(folder, 'ivf.json'), 'utf8');
    writeFileSync(join(folder, 'ivf.next.json'), text.replace(/lists-[0-9a-f]+/, 'lists-abc'));
    writeFileSync(join(folder, 'lists-abc.bin'), 'unfinished');
    writeFileSync(join(folder, 'lists-def.bin.tmp'), 'unfinished');
    expect(await search(store)).toEqual(before);
    const { problems, leftovers } = await verifyStore(store, { repair: true });
    expect([problems, leftovers]).toEqual([[], []]);
    expect(readdirSync(folder)).toHaveLength(2);
    expect(await search(store)).toEqual(before);
  });
});
