import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { readDocuments } from '../../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../../dist/datastore/types.js';
import type { KnnLM } from '../../dist/knnlm/knnlm.js';
import { TextMemory } from '../../dist/knnlm/text-memory.js';
import type { Tuning } from '../../dist/knnlm/tune.js';
import { tuningChart } from '../../dist/knnlm/tuning-chart.js';
import { buildDatastore, openKnnLM } from '../../dist/open.js';

const fixtures = fileURLToPath(new URL('../fixtures/', import.meta.url));
const small = { model: `${fixtures}models/stories260K`, window: 128, stride: 64 };
const folder = mkdtempSync(join(tmpdir(), 'knnlm-tune-'));
const store = join(folder, 'store');
const train = join(folder, 'train.jsonl');
/** The beginnings of the stored documents. */
const short = join(folder, 'short.jsonl');

let knnlm: KnnLM;
let stored: SourceDocument[];
let heldOut: SourceDocument[];
let unrelated: SourceDocument[];
let tuning: Tuning;

async function documentsOf(name: string): Promise<SourceDocument[]> {
  const documents: SourceDocument[] = [];
  for await (const document of readDocuments([`${fixtures}golden/${name}.jsonl`]))
    documents.push(document);
  return documents;
}

function writeJsonl(file: string, documents: SourceDocument[]): void {
  writeFileSync(file, documents.map(({ id, text }) => JSON.stringify({ id, text })).join('\n'));
}

beforeAll(async () => {
  stored = (await documentsOf('medical.train')).map((document) => ({
    ...document,
    text: document.text.slice(0, 6000),
  }));
  writeJsonl(train, stored);
  const [{ text }] = (await documentsOf('medical.valid')) as [SourceDocument];
  heldOut = [0, 1, 2].map((part) => ({
    id: `part-${part}`,
    source: '',
    text: text.slice(1200 * part, 1200 * (part + 1)),
  }));
  writeJsonl(
    short,
    stored.map((document) => ({ ...document, text: document.text.slice(0, 700) })),
  );
  unrelated = await documentsOf('tinystories.valid');
  await buildDatastore([train], { ...small, out: store });
  knnlm = await openKnnLM(store);
});

afterAll(async () => {
  await knnlm?.close();
  rmSync(folder, { recursive: true });
});

describe('a fresh store', () => {
  it('comes with settings tuned on its own documents, each left out of its own search', async () => {
    const record = knnlm.datastore.settings!;
    expect(record.source).toBe('self-tuned');
    expect(record.k).toBe(1024);
    const { entries, tokens } = record.evidence as { entries: number; tokens: number };
    expect(entries).toBe(knnlm.datastore.entries);
    expect(tokens).toBeGreaterThan(1500);
    expect(tokens).toBeLessThan(2300);
    // Left in, every target would find itself: λ near 1.
    expect(record.lambda).toBeLessThan(0.9);
  });

  it('is better for it on text that was not stored', async () => {
    const own = await knnlm.evaluate(heldOut, { gate: false });
    const paper = await knnlm.evaluate(heldOut, { k: 1024, lambda: 0.25, temperature: 1 });
    expect(own.knnlm.perplexity).toBeLessThan(0.8 * paper.knnlm.perplexity);
    expect(paper.knnlm.perplexity).toBeLessThan(own.lm.perplexity);
  });

  it('gets the same settings from the same documents', async () => {
    const built = await buildDatastore([short], { ...small, out: join(folder, 'once') });
    await buildDatastore([short], { ...small, out: join(folder, 'twice') });
    const [once, twice] = await Promise.all(
      ['once', 'twice'].map((name) => Datastore.open(join(folder, name))),
    );
    expect(once!.settings!.source).toBe('self-tuned');
    expect(once!.settings).toEqual(twice!.settings);
    expect(built.settings.lambda).toBe(once!.settings!.lambda);
    expect(built.tuningSeconds).toBeGreaterThan(0);
    await Promise.all([once!.close(), twice!.close()]);
  });

  it('keeps the settings it was given, and the paper’s when tuning is not wanted', async () => {
    const given = { k: 8, lambda: 0.5, temperature: 3 };
    const build = (name: string, more: object) =>
      buildDatastore([short], { ...small, ...more, out: join(folder, name) });
    expect(await build('given', { settings: given })).toMatchObject({
      settings: given,
      tuningSeconds: 0,
    });
    const { settings } = await build('untuned', { selfTune: false });
    expect(settings).toEqual({ k: 1024, lambda: 0.25, temperature: 1 });
  });

  it('of one short text keeps the paper’s settings: nothing can be learned from it', async () => {
    const file = join(folder, 'short.txt');
    writeFileSync(file, 'Once upon a time there was a dog.');
    const { settings } = await buildDatastore([file], { ...small, out: join(folder, 'tiny') });
    expect(settings).toEqual({ k: 1024, lambda: 0.25, temperature: 1 });
  });

  it('of one long document is tuned with the text around each target left out', async () => {
    const file = join(folder, 'long.txt');
    writeFileSync(file, stored[0]!.text.slice(0, 2500));
    const built = await buildDatastore([file], { ...small, out: join(folder, 'long') });
    expect(built.documents).toBe(1);
    expect(built.settings.lambda).toBeGreaterThan(0.3);
    expect(built.settings.lambda).toBeLessThan(0.9);
  });
});

describe('tune', () => {
  beforeAll(async () => {
    tuning = await knnlm.tune(heldOut);
  });

  it('reports the perplexity that the evaluation gives under its settings', async () => {
    const { lm, knnlm: mixed, tokens } = await knnlm.evaluate(heldOut, tuning.settings);
    expect(tuning.perplexity.lm).toBeCloseTo(lm.perplexity, 4);
    expect(tuning.perplexity.knnlm).toBeCloseTo(mixed.perplexity, 4);
    expect(tuning.tokens).toBe(tokens);
    const [low, high] = tuning.perplexity.interval;
    expect(low).toBeLessThan(tuning.perplexity.knnlm);
    expect(high).toBeGreaterThan(tuning.perplexity.knnlm);
  });

  it('beats the settings around it', async () => {
    const { k, lambda, temperature } = tuning.settings;
    for (const other of [
      { k, lambda: lambda - 0.1, temperature },
      { k, lambda, temperature: temperature * 2 },
    ]) {
      const { knnlm: mixed } = await knnlm.evaluate(heldOut, other);
      expect(mixed.perplexity).toBeGreaterThan(tuning.perplexity.knnlm);
    }
  });

  it('stores them with what they were tuned on', async () => {
    const datastore = await Datastore.open(store);
    expect(datastore.settings).toMatchObject({ ...tuning.settings, source: 'tuned' });
    expect(datastore.settings!.evidence).toMatchObject({
      documents: 3,
      tokens: tuning.tokens,
      perplexity: tuning.perplexity,
    });
    expect(datastore.settings!.gate !== undefined).toBe(tuning.gate?.used);
    await datastore.close();
  });

  it('leaves the store as it is when asked to', async () => {
    const before = readFileSync(join(store, 'manifest.json'), 'utf8');
    const looked = await knnlm.tune(heldOut.slice(0, 2), { save: false, k: 16 });
    expect(looked.saved).toBe(false);
    expect(looked.settings.k).toBeLessThanOrEqual(16);
    expect(readFileSync(join(store, 'manifest.json'), 'utf8')).toBe(before);
  });

  it('takes an even sample of a longer text', async () => {
    const looked = await knnlm.tune(heldOut, { save: false, maxTokens: 600 });
    expect(looked.tokens).toBeLessThanOrEqual(600);
    expect(looked.tokens).toBeGreaterThan(300);
    expect(looked.tokensOfText).toBe(tuning.tokens);
  });

  it('warns when the text is in the store, whole or for the most part', async () => {
    const altered = {
      id: 'altered',
      source: '',
      text: `New start. ${stored[1]!.text.slice(0, 3000)}`,
    };
    const { overlap, warnings, settings } = await knnlm.tune([stored[0]!, altered, heldOut[0]!], {
      save: false,
      maxTokens: 2000,
    });
    expect(overlap.stored).toEqual([stored[0]!.id]);
    expect(overlap.copied).toEqual(['altered']);
    expect(overlap.ngramShare).toBeGreaterThan(0.4);
    expect(settings.lambda).toBeGreaterThan(tuning.settings.lambda);
    expect(warnings).toContainEqual(expect.objectContaining({ code: 'overlap' }));
    expect(tuning.overlap).toMatchObject({ stored: [], copied: [] });
    expect(tuning.warnings.map(({ code }) => code)).not.toContain('overlap');
  });

  it('warns when the store does not help, and when there is little text', async () => {
    const { warnings, settings } = await knnlm.tune(unrelated, { save: false, maxTokens: 900 });
    expect(settings.lambda).toBeLessThan(0.1);
    expect(warnings.map(({ code }) => code)).toEqual(expect.arrayContaining(['little-text']));
    const useless = unrelated.slice(0, 1);
    const nothing = await knnlm.tune(useless, { save: false, k: 1 });
    expect(nothing.perplexity.ratio[1]).toBeGreaterThanOrEqual(1);
    expect(nothing.warnings).toContainEqual(expect.objectContaining({ code: 'no-help' }));
  });

  it('refuses no text, and stops when asked to', async () => {
    await expect(knnlm.tune([])).rejects.toMatchObject({ code: 'NO_DOCUMENTS' });
    await expect(knnlm.tune(heldOut, { k: 0 })).rejects.toThrow(/k must be .* not 0/);
    await expect(knnlm.tune(heldOut, { k: 1e6 })).rejects.toThrow(/at most 65216 here/);
    const stop = new AbortController();
    const stopped = knnlm.tune(heldOut, {
      signal: stop.signal,
      onProgress: ({ phase }) => phase === 'retrieving' && stop.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
  });

  it('draws a picture with every cell and the chosen setting', () => {
    const svg = tuningChart(tuning);
    const { lambdas, temperatures } = tuning.curves.surface;
    expect(svg.match(/<title>/g)).toHaveLength(lambdas.length * temperatures.length);
    expect(svg).toContain(`λ ${Number(tuning.settings.lambda.toPrecision(3))}`);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });
});

describe('the gate of a tuned store', () => {
  it('is used unless a setting is given or it is switched off', async () => {
    expect(tuning.gate!.used).toBe(true);
    const text = heldOut.slice(0, 2);
    const gated = await knnlm.evaluate(text);
    expect(gated.settings).toEqual({ ...tuning.settings, ...tuning.parts, gate: true });
    const { k, lambda, temperature } = tuning.settings;
    const constant = await knnlm.evaluate(text, { gate: false });
    expect(constant.settings).toEqual(tuning.settings);
    expect((await knnlm.evaluate(text, { k, lambda, temperature })).knnlm).toEqual(constant.knnlm);
    expect(gated.knnlm.perplexity).toBeLessThan(constant.knnlm.perplexity);
    expect(() => knnlm.settings({ gate: true, lambda: 0.9 })).toThrow(/leave out/);
  });

  it('is refused when its numbers do not fit together', async () => {
    const copy = join(folder, 'damaged');
    cpSync(store, copy, { recursive: true });
    const path = join(copy, 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    manifest.settings.gate.means.pop();
    writeFileSync(path, JSON.stringify(manifest));
    await expect(Datastore.open(copy)).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
  });

  it('does no harm on unrelated text, where the constant does', async () => {
    const request = { maxTokens: 2000 };
    const gated = await knnlm.evaluate(unrelated, request);
    const constant = await knnlm.evaluate(unrelated, { ...request, gate: false });
    const { documents, tokens, lm } = gated;
    expect(gated.knnlm.nll).toBeLessThan(lm.nll + 1.7 * documents + 0.0009 * tokens);
    expect(constant.knnlm.nll).toBeGreaterThan(lm.nll + 1.7 * documents + 0.0009 * tokens);
  });

  it('gives a distribution over the vocabulary when generating', async () => {
    const decoder = await knnlm.model.startDecoding();
    const ids = knnlm.model.tokenizer.encode('Once upon a time, there was a');
    const next = await decoder.read([knnlm.model.tokenizer.bos, ...ids]);
    const { model, retriever } = knnlm;
    const memory = await TextMemory.open(
      ids,
      { model, retriever },
      { ...small, settings: knnlm.settings() },
    );
    const prediction = await memory.predict(next);
    await decoder.close();
    const sum = prediction.logProbs.reduce((total, logProb) => total + Math.exp(logProb), 0);
    expect(sum).toBeCloseTo(1, 4);
    expect(prediction.weights.reduce((a, b) => a + b)).toBeCloseTo(1, 6);
  });
});
