/** Settings that a store found on its own documents, when the documents change. */
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { removeDocuments } from '../../dist/datastore/remove-documents.js';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import { compactStore } from '../../dist/knnlm/compact-store.js';
import { addDocuments, buildDatastore, datastoreInfo, openKnnLM } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-keep-tuned-'));
const stories: { id: string; text: string }[] = [];
let copies = 0;

function file(documents: readonly { id: string; text: string }[]): string {
  const path = join(folder, `documents-${copies++}.jsonl`);
  writeFileSync(path, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
  return path;
}

async function build(documents: readonly { id: string; text: string }[]): Promise<string> {
  const out = join(folder, `store-${copies++}`);
  await buildDatastore([file(documents)], { model, window: 128, stride: 64, out });
  return out;
}

const settingsOf = async (store: string) => (await datastoreInfo(store)).settings;

/** A copy with its settings replaced. */
async function withSettings(
  store: string,
  settings: Parameters<Datastore['updateSettings']>[0],
): Promise<string> {
  const copy = join(folder, `copy-${copies++}`);
  cpSync(store, copy, { recursive: true });
  const datastore = await Datastore.open(copy);
  await datastore.updateSettings(settings);
  await datastore.close();
  return copy;
}

const gate = {
  temperatures: [4],
  ranks: [1],
  means: [0, 0, 0],
  deviations: [1, 1, 1],
  weights: [
    [0, 0, 0, 0],
    [0, 0, 0, 0],
  ],
};

let all: string;
beforeAll(async () => {
  for await (const { id, text } of readDocuments([`${fixtures}golden/tinystories.train.jsonl`]))
    if (stories.push({ id, text }) === 14) break;
  all = await build(stories);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('compacting', () => {
  it('leaves the settings of a store that never had the removed documents', async () => {
    const path = await withSettings(all, (await settingsOf(all)) as never);
    expect((await settingsOf(path)).source).toBe('self-tuned');
    const gone = stories.slice(3, 6).map(({ id }) => id);
    await removeDocuments(path, { ids: gone });
    expect(await compactStore(path)).toMatchObject({ settings: 'found again' });
    const never = await build(stories.filter(({ id }) => !gone.includes(id)));
    expect(await settingsOf(path)).toEqual(await settingsOf(never));
  });

  it('leaves the defaults when no settings are to be found, or the model is not there', async () => {
    const own = (await settingsOf(all)) as never;
    const [first, second] = [await withSettings(all, own), await withSettings(all, own)];
    await removeDocuments(first, { ids: [stories[0]!.id] });
    expect(await compactStore(first, { selfTune: false })).toMatchObject({ settings: 'defaults' });
    expect(await settingsOf(first)).toEqual({
      k: 1024,
      lambda: 0.25,
      temperature: 1,
      source: 'default',
    });
    await removeDocuments(second, { ids: [stories[0]!.id] });
    const warnings: string[] = [];
    const result = await compactStore(second, {
      model: join(folder, 'nowhere'),
      onWarning: (warning) => void warnings.push(warning),
    });
    expect(result).toMatchObject({ settings: 'defaults', rewritten: true });
    expect(warnings.join()).toMatch(/defaults now.*nowhere/);
  });

  it('keeps k, λ and T that were tuned on held-out text, but neither gate nor evidence', async () => {
    const tuned = { k: 64, lambda: 0.5, temperature: 3, source: 'tuned' as const };
    const path = await withSettings(all, { ...tuned, gate, evidence: { tokens: 9 } });
    await removeDocuments(path, { ids: [stories[0]!.id] });
    const warnings: string[] = [];
    const result = await compactStore(path, { onWarning: (w) => void warnings.push(w) });
    expect(result.settings).toBe('gate removed');
    expect(await settingsOf(path)).toEqual(tuned);
    expect(warnings.join()).toMatch(/knnlm tune/);
  });

  it('leaves all settings alone when nothing was removed', async () => {
    const path = await withSettings(all, (await settingsOf(all)) as never);
    await addDocuments(path, [file([{ id: 'new', text: 'A short story. The end.' }])]);
    expect((await compactStore(path)).settings).toBeUndefined();
    expect(await settingsOf(path)).toEqual(await settingsOf(all));
  });
});

describe('adding', () => {
  it('finds the settings again once the store has outgrown them, but not for a line', async () => {
    const path = await build(stories.slice(0, 8));
    const before = await settingsOf(path);
    const little = await addDocuments(path, [file([{ id: 'x', text: 'One line. The end.' }])]);
    expect(little.settings).toBeUndefined();
    expect(await settingsOf(path)).toEqual(before);
    const { settings } = await addDocuments(path, [file(stories.slice(8))]);
    const after = await settingsOf(path);
    expect(settings).toMatchObject({ k: after.k, lambda: after.lambda });
    expect(after.source).toBe('self-tuned');
    expect(after.evidence!.entries).toBeGreaterThan(before.evidence!.entries as number);
  });

  it('leaves given settings alone, and all when asked to; an open store takes up new ones', async () => {
    const given = { k: 16, lambda: 0.1, temperature: 2, source: 'given' as const };
    const half = await build(stories.slice(0, 7));
    const path = await withSettings(half, given);
    await addDocuments(path, [file(stories.slice(7))]);
    expect(await settingsOf(path)).toEqual(given);
    const own = await withSettings(half, (await settingsOf(half)) as never);
    const knnlm = await openKnnLM(own);
    const more = stories.slice(7).map(({ id, text }) => ({ id, text, source: 'test' }));
    expect((await knnlm.add(more.slice(0, 3), { selfTune: false })).settings).toBeUndefined();
    const { settings } = await knnlm.add(more.slice(3));
    expect(knnlm.settings()).toMatchObject({ k: settings!.k, lambda: settings!.lambda });
    await knnlm.close();
  });
});
