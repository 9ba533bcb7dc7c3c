import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocuments } from '../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../dist/datastore/types.js';
import { scoreDocument } from '../dist/knnlm/evaluate.js';
import { interpolate, knnLogProbOf } from '../dist/knnlm/interpolate.js';
import type { KnnLM } from '../dist/knnlm/knnlm.js';
import { readTokens } from '../dist/knnlm/read-tokens.js';
import { neighborRow, type Retrieved } from '../dist/knnlm/retriever.js';
import { planWindows } from '../dist/knnlm/windows.js';
import { buildDatastore, DEFAULT_MODEL, openKnnLM } from '../dist/open.js';
import { expectClose, readGolden, sameUpToTies, settingsOf } from './golden.ts';

const fixtures = fileURLToPath(new URL('./fixtures/', import.meta.url));

const cases = [
  { name: 'stories260K', model: `${fixtures}models/stories260K`, corpus: 'tinystories' },
  { name: 'wiki-mini', model: 'wiki-mini', corpus: 'medical' },
];
// The same shape and text again: `npm test` holds its log-probabilities to PyTorch's in model/language-model.test.ts.
if (process.env.MODE === 'all') {
  cases.push({ name: 'wiki-mini-2', model: DEFAULT_MODEL, corpus: 'medical' });
}

describe.each(cases)('reference numbers of $name', ({ name, model, corpus }) => {
  const golden = readGolden(name);
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-golden-'));
  const documents: SourceDocument[] = [];
  let knnlm: KnnLM;

  beforeAll(async () => {
    await buildDatastore([`${fixtures}golden/${corpus}.train.jsonl`], {
      out: join(folder, 'store'),
      model,
      window: golden.window,
      stride: golden.stride,
      keyDtype: 'fp32',
      selfTune: false,
    });
    knnlm = await openKnnLM(join(folder, 'store'));
    for await (const document of readDocuments([`${fixtures}golden/${corpus}.valid.jsonl`])) {
      documents.push(document);
    }
  });

  afterAll(async () => {
    await knnlm?.close();
    rmSync(folder, { recursive: true });
  });

  it('stores the same documents, starts and values', async () => {
    const records = [...knnlm.datastore.documents];
    expect(records.map(({ id }) => id)).toEqual(golden.datastore.documents);
    expect(records.map(({ start }) => start)).toEqual(golden.datastore.starts);
    expect(knnlm.datastore.entries).toBe(golden.datastore.entries);
    expect([...(await knnlm.datastore.valueRange(0, 64))]).toEqual(golden.datastore.values_head);
  });

  it('stores the same keys', () => {
    const d = knnlm.datastore.keyDim;
    const [source] = knnlm.datastore.keySources();
    const bytes = readFileSync(source!.path);
    const keys = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
    expectClose(keys.subarray(0, d), golden.datastore.first_key, 1e-4);
    expectClose(keys.subarray(keys.length - d), golden.datastore.last_key, 1e-4);
    const checksum = keys.reduce((sum, x) => sum + Math.abs(x), 0);
    expect(Math.abs(checksum / golden.datastore.key_checksum - 1)).toBeLessThan(1e-5);
  });

  it('reads the same tokens and finds the same neighbors at the same distances', async () => {
    for (const [i, row] of golden.documents.entries()) {
      const { inputs, targets } = await readTokens(documents[i]!, knnlm.model);
      expect(documents[i]!.id).toBe(row.id);
      expect([...targets.subarray(0, -1)]).toEqual(row.tokens);
      const [window] = planWindows(inputs.length, golden);
      const [first] = await knnlm.model.keys([inputs.slice(0, window!.length)]);
      for (const { target, entries, squared_distances } of row.first_neighbours) {
        if (target >= window!.length) continue;
        const d = knnlm.datastore.keyDim;
        const query = first!.slice(target * d, (target + 1) * d);
        const { ids, distances } = await knnlm.retriever.retrieve(query, { k: entries.length });
        expectClose(distances, squared_distances, 1e-3, true);
        expect(sameUpToTies([...ids], entries, squared_distances)).toBe(true);
      }
    }
  });

  it('gives the same log-probabilities of the model and of every mixture', async () => {
    const nll: Record<string, number> = {};
    let count = 0;
    for (const [i, row] of golden.documents.entries()) {
      const { lm, found, targets } = await retrieveAll(documents[i]!.text);
      expectClose(lm, row.lm, 1e-4);
      count += targets.length;
      nll.lm = lm.reduce((sum, logProb) => sum - logProb, nll.lm ?? 0);
      for (const [name, { mixture, knn_probability }] of Object.entries(row.knn)) {
        const { k, temperature, lambda } = settingsOf(name);
        const knn = Float64Array.from(targets, (target, t) =>
          knnLogProbOf(target, neighborRow(found, t, k), temperature),
        );
        const mixed = knn.map((logProb, t) => interpolate(lm[t]!, logProb, lambda));
        expectClose(knn.map(Math.exp), knn_probability, 1e-4);
        expectClose(mixed, mixture, 1e-4);
        nll[name] = mixed.reduce((sum, logProb) => sum - logProb, nll[name] ?? 0);
      }
    }
    for (const [name, perplexity] of Object.entries(golden.perplexity)) {
      expect(Math.abs(Math.exp(nll[name]! / count) / perplexity - 1)).toBeLessThan(1e-4);
    }
  });

  it('evaluates a whole document to the same mixture', async () => {
    const name = 'k=1024 temperature=10 lambda=0.25';
    const scored = await scoreDocument(documents[0]!, knnlm.model, knnlm.retriever, {
      settings: settingsOf(name),
      window: golden.window,
      stride: golden.stride,
    });
    expectClose(scored.lm, golden.documents[0]!.lm, 1e-4);
    expectClose(scored.mixture, golden.documents[0]!.knn[name]!.mixture, 1e-4);
  });

  /** log p_LM of every target of a text, and each one's 1,024 neighbors. */
  async function retrieveAll(
    text: string,
  ): Promise<{ lm: Float64Array; found: Retrieved; targets: Int32Array }> {
    const { inputs, targets } = await readTokens({ text }, knnlm.model);
    const d = knnlm.datastore.keyDim;
    const lm = new Float64Array(targets.length);
    const queries = new Float32Array(targets.length * d);
    for (const { start, length, seen } of planWindows(inputs.length, golden)) {
      const part = [start, start + length] as const;
      const [scored] = await knnlm.model.score([inputs.slice(...part)], [targets.slice(...part)]);
      lm.set(scored!.logProbs.subarray(seen), start + seen);
      queries.set(scored!.keys.subarray(seen * d), (start + seen) * d);
    }
    return { lm, found: await knnlm.retriever.retrieve(queries, { k: 1024 }), targets };
  }
});
