/** `verify` over documents and index. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { indexStore } from '../../dist/knnlm/index-store.js';
import { verifyStore } from '../../dist/knnlm/verify-store.js';
import {
  type FakeDocument,
  fakeDocument,
  fakeEntries,
  header,
  settings,
  temporaryFolder,
} from '../datastore/support.ts';

async function write(path: string, documents: readonly FakeDocument[], mode: 'build' | 'add') {
  const writer = await DatastoreWriter.open(path, header(), { mode });
  for (const document of documents) {
    await writer.beginDocument(document);
    const { keys, values } = fakeEntries(document, 0, document.length);
    await writer.append(keys, values);
    await writer.endDocument();
  }
  await writer.finish(mode === 'build' ? settings : null);
}

async function indexedStore() {
  const path = join(temporaryFolder(), 'store');
  await write(path, [fakeDocument('a', 150), fakeDocument('b', 150)], 'build');
  await indexStore(path, { lists: 4, threads: 1 });
  await write(path, [fakeDocument('c', 20)], 'add');
  const name = readdirSync(join(path, 'index')).find((file) => file.endsWith('.bin'))!;
  return { path, lists: join(path, 'index', name) };
}

describe('verifyStore', () => {
  it('reads the index too, newer entries beside it', async () => {
    const { path } = await indexedStore();
    const { files, problems, leftovers } = await verifyStore(path);
    // Two segments of three files, and two of the index.
    expect({ files, problems, leftovers }).toEqual({ files: 8, problems: [], leftovers: [] });
  });

  it('finds a changed byte anywhere in the index, and repairs by taking it away', async () => {
    const { path, lists } = await indexedStore();
    const bytes = readFileSync(lists);
    for (const at of [0, 70, Math.floor(bytes.length / 2), bytes.length - 1]) {
      const damaged = Buffer.from(bytes);
      damaged[at]! ^= 4;
      writeFileSync(lists, damaged);
      const { problems } = await verifyStore(path);
      expect(problems).toMatchObject([{ file: lists }]);
      expect(problems[0]!.problem).toMatch(/does not match its checksum/);
    }
    writeFileSync(lists, bytes.subarray(0, -5));
    const repaired = await verifyStore(path, { repair: true });
    expect(repaired).toMatchObject({ problems: [], leftovers: [] });
    expect(repaired.repaired[0]).toMatch(/removed the index .*knnlm index/);
    expect(await verifyStore(path)).toMatchObject({ files: 6, problems: [] });
  });

  it('tells and removes what a killed build of an index left', async () => {
    const { path, lists } = await indexedStore();
    const left = join(path, 'index', 'lists-0123456789ab.bin.tmp');
    writeFileSync(left, 'half');
    expect(await verifyStore(path)).toMatchObject({ problems: [], leftovers: [left] });
    const { repaired } = await verifyStore(path, { repair: true });
    expect(repaired).toEqual([`removed ${left}`]);
    expect(readdirSync(join(path, 'index')).sort()).toEqual(['ivf.json', lists.split('/').at(-1)]);
    expect(await verifyStore(path)).toMatchObject({ problems: [], leftovers: [] });
  });
});
