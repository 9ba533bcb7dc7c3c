import { execFileSync } from 'node:child_process';
import { cpSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { verifyDatastore } from '../../dist/datastore/verify-datastore.js';
import { KnnLMError } from '../../dist/errors.js';
import {
  fakeDocument,
  fakeEntries,
  header,
  openStore,
  settings,
  temporaryFolder,
} from './support.ts';

const files = ['keys.f16', 'values.u16', 'documents.jsonl'].flatMap((name) => [
  `segments/000000/${name}`,
  `segments/000000/${name}.crc`,
]);

async function makeStore(): Promise<string> {
  const path = join(temporaryFolder(), 'store');
  const writer = await DatastoreWriter.open(path, header());
  for (const document of [fakeDocument('a', 7), fakeDocument('b', 5), fakeDocument('c', 300)]) {
    await writer.beginDocument({ ...document, metadata: { title: document.id } });
    const { keys, values } = fakeEntries(document, 0, document.length);
    await writer.append(keys, values);
    await writer.endDocument();
  }
  await writer.finish(settings);
  return path;
}

describe('a damaged datastore', () => {
  it('is found out by a check of every byte, wherever one bit has changed', async () => {
    const path = await makeStore();
    expect(await verifyDatastore(path)).toMatchObject({ files: 3, problems: [] });
    for (const name of files) {
      const file = join(path, name);
      const bytes = readFileSync(file);
      for (const at of [0, bytes.length >> 1, bytes.length - 1]) {
        const flipped = Buffer.from(bytes);
        flipped[at]! ^= 4;
        writeFileSync(file, flipped);
        const { problems } = await verifyDatastore(path);
        expect(problems.map((problem) => problem.file)).toEqual([file.replace('.crc', '')]);
      }
      writeFileSync(file, bytes);
    }
  });

  it.each(files)('is refused when %s is cut short or gone, naming the file', async (name) => {
    const path = await makeStore();
    const file = join(path, name);
    const size = readFileSync(file).length;
    truncateSync(file, size - 1);
    const message = new RegExp(`${name} is damaged: it should hold ${size} bytes but`);
    await expect(openStore(path)).rejects.toMatchObject({
      code: 'STORE_CORRUPT',
      message: expect.stringMatching(message),
    });
    expect((await verifyDatastore(path)).problems).not.toEqual([]);
    rmSync(file);
    await expect(openStore(path)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect((await verifyDatastore(path)).problems).not.toEqual([]);
    const add = DatastoreWriter.open(path, header(), { mode: 'add' });
    await expect(add).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  it('of a newer format is refused, as is what is no datastore', async () => {
    const path = await makeStore();
    const file = join(path, 'manifest.json');
    writeFileSync(file, readFileSync(file, 'utf8').replace('"version": 1', '"version": 9'));
    await expect(openStore(path)).rejects.toMatchObject({ code: 'STORE_VERSION' });
    await expect(openStore(temporaryFolder())).rejects.toMatchObject({
      code: 'STORE_NOT_FOUND',
    });
  });

  it('never gives anything but a KnnLMError, whatever its manifest says', async () => {
    const path = await makeStore();
    const file = join(path, 'manifest.json');
    // As one of before there were checksums, so that the fields themselves are what is checked.
    const { checksum: _, ...manifest } = JSON.parse(readFileSync(file, 'utf8'));
    const places: (string | number)[][] = [];
    const walk = (value: unknown, place: (string | number)[]): void => {
      places.push(place);
      if (typeof value !== 'object' || value === null) return;
      for (const [key, child] of Object.entries(value)) walk(child, [...place, key]);
    };
    walk(manifest, []);
    const values = fc.oneof(
      fc.constantFrom(null, -1, 0, 1, 2 ** 31, 2 ** 53, 1e300, 0.5, '', '../..', [], {}, [[0, 5]]),
      fc.jsonValue(),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...places), values, async (place, value) => {
        const changed = structuredClone({ root: manifest });
        let parent: Record<string, unknown> = changed;
        for (const key of ['root', ...place].slice(0, -1))
          parent = parent[key] as Record<string, unknown>;
        parent[['root', ...place].at(-1)!] = value;
        writeFileSync(file, JSON.stringify(changed.root));
        await opensOrRefuses(path);
      }),
      { numRuns: 300 },
    );
  });

  it('never gives anything but a KnnLMError, whatever lies in its document table or manifest', async () => {
    const path = await makeStore();
    const broken = `${path}-broken`;
    cpSync(path, broken, { recursive: true });
    const names = fc.constantFrom('manifest.json', 'segments/000000/documents.jsonl');
    const edits = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(names, edits, async (name, changes) => {
        const bytes = readFileSync(join(path, name));
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        writeFileSync(join(broken, name), bytes);
        await opensOrRefuses(broken);
        cpSync(join(path, name), join(broken, name));
      }),
      { numRuns: 300 },
    );
  });
});

async function opensOrRefuses(path: string): Promise<void> {
  try {
    const store = await openStore(path);
    for (const document of store.documents) store.documents.locate(document.start);
    store.excludedRanges();
    await store.valueRange(0, store.entries);
    await verifyDatastore(path);
  } catch (error) {
    if (!(error instanceof KnnLMError)) throw error;
    expect(error.message).not.toContain('\n');
  }
}

describe('docs/formats.md', () => {
  let python = false;
  beforeAll(() => {
    try {
      execFileSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' });
      python = true;
    } catch {
      python = false;
    }
  });

  it('has a NumPy reader that reads what is written here', async ({ skip }) => {
    if (!python) skip('python3 with numpy is not here');
    const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');
    const reader = /```python\n([\s\S]*?)```/.exec(page)![1]!;
    const path = await makeStore();
    const writer = await DatastoreWriter.open(path, header(), { mode: 'add' });
    const added = fakeDocument('d', 40);
    await writer.beginDocument(added);
    await writer.append(fakeEntries(added, 0, 40).keys, fakeEntries(added, 0, 40).values);
    await writer.endDocument();
    await writer.finish(null);
    const ask = `
keys, values, documents = read_datastore(${JSON.stringify(path)})
print(json.dumps([list(keys.shape), keys.dtype.name, keys.astype("f4").ravel().tolist(), values.tolist(), documents]))`;
    const answer = execFileSync('python3', ['-c', reader + ask], { maxBuffer: 2 ** 26 });
    const [shape, dtype, keys, values, documents] = JSON.parse(answer.toString());
    expect([shape, dtype]).toEqual([[352, 4], 'float16']);
    const all = [fakeDocument('a', 7), fakeDocument('b', 5), fakeDocument('c', 300), added];
    const exact = all.flatMap((document) => [...fakeEntries(document, 0, document.length).keys]);
    exact.forEach((x, i) => {
      expect(Math.abs(keys[i] - x)).toBeLessThanOrEqual(2 ** -11 * Math.abs(x) + 2 ** -25);
    });
    const store = await openStore(path);
    expect(values).toEqual([...(await store.valueRange(0, 352))]);
    expect(documents).toEqual([...store.documents]);
  });
});
