/** Keys and values out of a store and into one, as arrays: the round trip, other programs' layouts, and what does not fit. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { exportDatastore, importDatastore } from '../../dist/index.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { buildDatastore, datastoreInfo, listDocuments } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const root = mkdtempSync(join(tmpdir(), 'knnlm-interchange-'));
const store = join(root, 'store');
const python = process.env.PYTHON ?? 'python3';
const hasNumPy = spawnSync(python, ['-c', 'import numpy']).status === 0;
let folders = 0;
const place = (): string => join(root, `${folders++}`);

beforeAll(async () => {
  const text = readFileSync(`${fixtures}golden/tinystories.train.jsonl`, 'utf8');
  const input = join(root, 'input.jsonl');
  writeFileSync(input, text.split('\n').slice(0, 5).join('\n'));
  const settings = { k: 16, lambda: 0.3, temperature: 2 };
  await buildDatastore([input], { out: store, model, window: 128, stride: 64, settings });
});
afterAll(() => rmSync(root, { recursive: true }));

/** Every file of the only segment. */
const segmentOf = (path: string): [string, Buffer][] => {
  const folder = join(path, 'segments/000000');
  return readdirSync(folder)
    .sort()
    .map((name) => [name, readFileSync(join(folder, name))]);
};

describe('export and import', () => {
  it('give the same files again, whatever was removed left out', async () => {
    const path = place();
    cpSync(store, path, { recursive: true });
    const [, second] = await listDocuments(path);
    await removeDocuments(path, { ids: [second!.id] });
    const out = place();
    const written = await exportDatastore(path, out);
    expect(written.entries).toBe((await datastoreInfo(path)).entries);
    const back = place();
    const result = await importDatastore(written, { out: back, model, selfTune: false });
    expect(result).toMatchObject({ documents: 4, entries: written.entries });
    expect(result.keyDifference).toBeLessThan(1e-3);
    await compactStore(path);
    expect(segmentOf(back)).toEqual(segmentOf(path));
    expect((await datastoreInfo(back)).window).toBe(128);
  });

  it.each([
    ['transformers', 2, 4],
    ['fairseq', 2, 2],
  ] as const)(
    'keep to the memmaps of %s: no header, the size in the name',
    async (layout, keyBytes, valueBytes) => {
      const written = await exportDatastore(store, place(), { layout });
      const { entries, dim } = written;
      expect(written.keys).toContain(`dstore_llama_${entries}_${dim}_keys.npy`);
      expect(readFileSync(written.keys).length).toBe(entries * dim * keyBytes);
      expect(readFileSync(written.values).length).toBe(entries * valueBytes);
      const back = place();
      // Without the list of documents: one document of all rows.
      const { keys, values } = written;
      const result = await importDatastore({ keys, values }, { out: back, model, selfTune: false });
      expect(result).toMatchObject({ documents: 1, entries, keyDifference: null });
      const [whole] = await listDocuments(back);
      expect(whole).toMatchObject({ id: `dstore_llama_${entries}_${dim}`, length: entries });
      const rows = (path: string) =>
        segmentOf(path).filter(([name]) => !name.startsWith('documents'));
      expect(rows(back)).toEqual(rows(store));
    },
  );

  it('write over nothing', async () => {
    const out = place();
    await exportDatastore(store, out);
    await expect(exportDatastore(store, out)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('there already'),
    });
  });

  it('stop when asked to, and leave nothing under a name that counts', async () => {
    const out = place();
    await expect(
      exportDatastore(store, out, { signal: AbortSignal.abort() }),
    ).rejects.toMatchObject({ code: 'ABORTED' });
    expect(readdirSync(out).every((name) => name.endsWith('.part'))).toBe(true);
  });
});

describe('importing', () => {
  const refused = async (
    change: (files: { keys: string; values: string; documents: string }) => void,
    message: RegExp,
    { begun = false } = {},
  ) => {
    const written = await exportDatastore(store, place());
    change(written);
    const out = place();
    await expect(importDatastore(written, { out, model })).rejects.toMatchObject({
      name: 'KnnLMError',
      message: expect.stringMatching(message),
    });
    if (!begun) await expect(datastoreInfo(out)).rejects.toMatchObject({ name: 'KnnLMError' });
  };

  it('refuses arrays that were cut short', async () => {
    await refused(({ keys }) => truncateSync(keys, 1000), /1000 bytes, but its header/);
    await refused(({ values }) => truncateSync(values, 300), /300 bytes, but its header/);
    await refused(({ values }) => rmSync(values), /does not exist/);
  });

  it('refuses what is no array of the kind', async () => {
    await refused((files) => {
      [files.keys, files.values] = [files.values, files.keys];
    }, /holds int32; keys are fp16 or fp32/);
    await refused(
      ({ keys }) => writeFileSync(keys, Buffer.alloc(101)),
      /101 bytes, which are no rows of 64/,
    );
  });

  it('refuses tokens that the model does not have, and keys that are no numbers', async () => {
    await refused(({ values }) => {
      const bytes = readFileSync(values);
      bytes.writeInt32LE(-1, bytes.length - 4);
      writeFileSync(values, bytes);
    }, /the token -1 in row/);
    const notFinite = ({ keys }: { keys: string }) => {
      const bytes = readFileSync(keys);
      bytes.writeUInt16LE(0x7e00, bytes.length - 2);
      writeFileSync(keys, bytes);
    };
    // Met when it is its turn: what was written before it is a half-built store, as after any stop.
    await refused(notFinite, /not finite in row/, { begun: true });
  });

  it('refuses keys that the model does not give for the same documents', async () => {
    await refused(({ keys }) => {
      const bytes = readFileSync(keys);
      const head = 10 + bytes.readUInt16LE(8);
      // Rows in the wrong order.
      const rows = bytes.subarray(head);
      bytes.set(Buffer.concat([rows.subarray(640), rows.subarray(0, 640)]), head);
      writeFileSync(keys, bytes);
    }, /other keys than .* gives for the same documents/);
  });

  it('refuses a list of documents that does not fit', async () => {
    await refused(
      ({ documents }) => writeFileSync(documents, '{"format": 1}'),
      /no list of documents: format/,
    );
    await refused(({ documents }) => {
      const list = JSON.parse(readFileSync(documents, 'utf8'));
      list.documents[1].start++;
      writeFileSync(documents, JSON.stringify(list));
    }, /begins in row/);
  });
});

describe.skipIf(!hasNumPy)('NumPy', () => {
  it('reads what was exported, by the code in docs/formats.md', async () => {
    const { keys, documents, entries, dim } = await exportDatastore(store, place());
    const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');
    const reader = /```python\n((?:(?!```)[\s\S])*def read_arrays[\s\S]*?)```/.exec(page)![1]!;
    const ask = `
keys, values, documents = read_arrays(${JSON.stringify(keys.replace(/_keys\.npy$/, ''))})
print(json.dumps([keys.shape, values.shape, keys[:, 0].astype("f8").sum(), [int(values[d["start"] + d["length"] - 1]) for d in documents]]))
`;
    const answer = JSON.parse(execFileSync(python, ['-c', reader + ask], { encoding: 'utf8' }));
    const [keyShape, valueShape, sum, ends] = answer;
    expect([keyShape, valueShape]).toEqual([[entries, dim], [entries]]);
    expect(Number.isFinite(sum)).toBe(true);
    const list = JSON.parse(readFileSync(documents, 'utf8'));
    expect(ends).toEqual(list.documents.map(() => list.model.eos));
  });
});
