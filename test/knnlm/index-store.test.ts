import { mkdtempSync, readdirSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import { documentHash } from '../../dist/datastore/hash.js';
import type { StoreHeader } from '../../dist/datastore/manifest.js';
import type { SettingsRecord } from '../../dist/datastore/types.js';
import { openIndex } from '../../dist/indexes/open-index.js';
import { describeIndex, indexFolder, removeIndex } from '../../dist/knnlm/index-folder.js';
import type { IndexPlan } from '../../dist/knnlm/index-plan.js';
import { type IndexStoreResult, indexStore } from '../../dist/knnlm/index-store.js';
import { retrievalError, valueLogFrequencies } from '../../dist/knnlm/retrieval-error.js';
import type { Progress } from '../../dist/knnlm/types.js';
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
let root: string;

/** A store of keys around 50 centers, each with the center's number as its value but for some noise. */
async function makeStore(
  name: string,
  lengths: number[],
  own: SettingsRecord | null = settings,
): Promise<string> {
  const path = join(root, name);
  const writer = await DatastoreWriter.open(path, header);
  for (const [i, length] of lengths.entries()) {
    await writer.beginDocument({
      id: `d${i}`,
      source: 'test',
      hash: documentHash(`${name} ${i}`),
      length,
    });
    const keys = clustered(length, dim, 50, i);
    await writer.append(keys, valuesOf(keys, length));
    await writer.endDocument();
  }
  await writer.finish(own);
  return path;
}

function valuesOf(keys: Float32Array, length: number): Uint32Array {
  return Uint32Array.from({ length }, (_, r) => Math.abs(Math.round(keys[r * dim]! * 3)) % 50);
}

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'knnlm-index-store-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

it('indexes a store within the error asked for, and the index is used when the store is opened', async () => {
  const store = await makeStore('many', [900, 700, 1200, 300, 900]);
  const phases = new Set<string>();
  const plans: IndexPlan[] = [];
  const result = await indexStore(store, {
    maxError: 0.05,
    threads: 2,
    onProgress: ({ phase }) => phases.add(phase),
    onIndexPlan: (plan) => plans.push(plan),
  });
  expect([...phases]).toEqual(['training', 'assigning', 'writing', 'comparing', 'tuning']);
  expect(plans).toMatchObject([{ entries: 4000, lists: 125, diskBytes: 4000 * 84 }]);
  expect(plans[0]!.freeDiskBytes).toBeGreaterThan(plans[0]!.diskBytes);
  expect(plans[0]!.seconds).toBeGreaterThan(0);
  expect(result).toMatchObject({ entries: 4000, reached: true });
  expect(result.error).toBeLessThanOrEqual(0.05);
  expect(result.recall).toBeGreaterThan(0.5);
  const datastore = await Datastore.open(store);
  const index = await openIndex({
    sources: datastore.keySources(),
    dim,
    indexFolder: indexFolder(store),
  });
  expect([index.kind, index.size]).toEqual(['ivf', 4000]);
  await index.close();
  await datastore.close();
  const { lists, settings: chosen, recall, error, standardError, bytes } = result;
  expect(standardError).toBeLessThan(error);
  const told = await describeIndex(store);
  const { least, median, most } = told.listSizes!;
  expect(least).toBeGreaterThan(0);
  expect(least).toBeLessThanOrEqual(median);
  expect(median).toBeLessThanOrEqual(most);
  expect(most * lists).toBeGreaterThan(4000);
  expect(told).toEqual({
    kind: 'ivf',
    indexed: 4000,
    lists,
    listSizes: { least, median, most },
    codes: 'sq8',
    probes: chosen.probes,
    recall,
    error,
    standardError,
    judgedBy: "the store's and typical settings",
    bytes,
  });
  const [file] = readdirSync(indexFolder(store)).filter((name) => name.endsWith('.bin'));
  truncateSync(join(indexFolder(store), file!), 100);
  expect(await describeIndex(store)).toEqual({ ...told, listSizes: undefined });
  await removeIndex(store);
  expect(await describeIndex(store)).toEqual({ kind: 'flat' });
});

it('reads more lists when less error is allowed', async () => {
  const store = await makeStore('strict', [1500, 1500, 1000]);
  const loose = await indexStore(store, { maxError: 0.5 });
  const strict = await indexStore(store, { maxError: 0.001 });
  expect(strict.settings.probes).toBeGreaterThan(loose.settings.probes);
  expect(strict.recall).toBeGreaterThan(loose.recall);
});

it('indexes a store of a single document, whose own entries are then the neighbors', async () => {
  const store = await makeStore('one', [3000], null);
  const result = await indexStore(store, { maxError: 0.01 });
  expect(result.reached).toBe(true);
  // Nobody has found λ and T yet.
  expect(await describeIndex(store)).toMatchObject({ judgedBy: 'typical settings' });
  expect(Math.max(...result.trials.map(({ error }) => error))).toBeGreaterThan(0);
});

it('asks fewer queries of lists that memory cannot hold, in one pass, and says how sure the error is', async () => {
  const store = await makeStore('tight', [1500, 1500]);
  const wide = await indexStore(store, { maxError: 0.05 });
  const told: Progress[] = [];
  const tight = await indexStore(store, {
    maxError: 0.05,
    memoryBytes: 40_000,
    onProgress: (progress) => told.push(progress),
  });
  const asked = ({ trials }: IndexStoreResult) => new Set(trials.map(({ queries }) => queries));
  expect([asked(wide), asked(tight)]).toEqual([new Set([1024]), new Set([512])]);
  expect(tight.reached).toBe(true);
  expect(Math.abs(tight.error - wide.error)).toBeLessThan(5 * tight.standardError!);
  const compared = told.filter(({ phase }) => phase === 'comparing').at(-1)!;
  expect(compared).toMatchObject({ unit: 'bytes', done: compared.total });
});

it('codes keys smaller, compares some by their keys for the same error, and keeps to that when it is run again', async () => {
  const store = await makeStore('coded', [900, 700, 1200, 300, 900]);
  const whole = await indexStore(store, { maxError: 0.02 });
  const phases = new Set<string>();
  const onProgress = ({ phase }: { phase: string }) => phases.add(phase);
  const coded = await indexStore(store, { maxError: 0.02, codes: 'pq8', onProgress });
  // The lists that are there are coded anew; no key is assigned again.
  expect([...phases]).toEqual(['comparing', 'tuning', 'training', 'writing']);
  expect(coded).toMatchObject({ codes: 'pq8', lists: whole.lists, reached: true });
  expect(coded.settings).toMatchObject({ probes: whole.settings.probes });
  expect(coded.settings.rerank).toBeGreaterThan(0);
  expect(coded.bytes).toBeLessThan(0.8 * whole.bytes);
  expect(await describeIndex(store)).toMatchObject({ kind: 'ivf', codes: 'pq8', indexed: 4000 });
  expect(await indexStore(store)).toMatchObject({ codes: 'pq8' });
  expect(await indexStore(store, { codes: 'sq8' })).toMatchObject({ codes: 'sq8' });
  await expect(indexStore(store, { codes: 'pq17' })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('"pq17"'),
  });
});

it('refuses a target that is no error', async () => {
  const store = await makeStore('bad', [10]);
  for (const maxError of [0, -1, Number.NaN]) {
    await expect(indexStore(store, { maxError })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(`${maxError}`),
    });
  }
});

it('says that there is nothing to index', async () => {
  const store = join(root, 'empty');
  await (await DatastoreWriter.open(store, header)).abort({ commit: true });
  await expect(indexStore(store)).rejects.toMatchObject({ code: 'NO_DOCUMENTS' });
  await expect(indexStore(join(root, 'nowhere'))).rejects.toMatchObject({
    code: 'STORE_NOT_FOUND',
  });
});

it('counts frequencies of values, and measures errors in nats', async () => {
  const store = await makeStore('count', [200]);
  const datastore = await Datastore.open(store);
  const frequencies = await valueLogFrequencies(datastore);
  expect(frequencies.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 10);
  const values = await datastore.valueRange(0, 200);
  const target = values[0]!;
  const count = values.filter((value) => value === target).length;
  expect(frequencies[target]).toBeCloseTo(Math.log((count + 1) / 250), 10);

  // The one neighbor of the right token is found, or a far one of another in its place: p_kNN is 1 or 0.
  const other = values.findIndex((value) => value !== target);
  const near = { k: 1, ids: Int32Array.of(0), distances: Float32Array.of(0) };
  const wrong = { k: 1, ids: Int32Array.of(other), distances: Float32Array.of(9) };
  const options = {
    datastore,
    targets: Uint32Array.of(target),
    lmLogProbs: Float64Array.of(Math.log(0.5)),
    settings: [
      { lambda: 0.5, temperature: 1 },
      { lambda: 0.2, temperature: 1 },
    ],
  };
  expect(await retrievalError(near, near, options)).toEqual({ error: 0, standardError: 0 });
  const { error, standardError } = await retrievalError(wrong, near, options);
  expect(error).toBeCloseTo(Math.log(0.75 / 0.25), 6);
  expect(standardError).toBeCloseTo(0, 6);
  // Of four, half are right: the standard error of a mean of 0, 0, x and x.
  const four = await retrievalError(
    { k: 1, ids: Int32Array.of(other, 0, other, 0), distances: Float32Array.of(9, 0, 9, 0) },
    { k: 1, ids: new Int32Array(4), distances: new Float32Array(4) },
    {
      ...options,
      targets: new Uint32Array(4).fill(target),
      lmLogProbs: new Float64Array(4).fill(Math.log(0.5)),
    },
  );
  expect(four.error).toBeCloseTo(error / 2, 6);
  expect(four.standardError).toBeCloseTo(error / 4, 6);
  await datastore.close();
});
