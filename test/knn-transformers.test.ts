/** Scores held against those of neulab/knn-transformers' own code (test/fixtures/knn-transformers). */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readDocuments } from '../dist/datastore/sources/read-documents.js';
import type { SourceDocument } from '../dist/datastore/types.js';
import type { KnnLM } from '../dist/knnlm/knnlm.js';
import { interpolateAs } from '../dist/knnlm/reference-semantics.js';
import type { RetrievalRequest } from '../dist/knnlm/types.js';
import { buildDatastore, openKnnLM } from '../dist/open.js';
import { expectClose } from './golden.ts';

interface Reference {
  window: number;
  stride: number;
  entries: number;
  documents: { id: string; tokens: number }[];
  knn: Scored[];
  retomaton: (Scored & { minKnns: number; saved: number[] })[];
  half: { lambda: number; lm: number[]; knn: number[]; mixture: number[]; single: number[] }[];
}

interface Scored {
  k: number;
  temperature: number;
  lambda: number;
  perplexity: number;
  /** One row per document: log p of each target. */
  logProbs: number[][];
}

const fixtures = fileURLToPath(new URL('./fixtures/', import.meta.url));
const reference: Reference = JSON.parse(
  readFileSync(`${fixtures}knn-transformers/stories260K.json`, 'utf8'),
);
const folder = mkdtempSync(join(tmpdir(), 'knnlm-transformers-'));
const documents: SourceDocument[] = [];
let knnlm: KnnLM;

beforeAll(async () => {
  const { window, stride } = reference;
  const out = join(folder, 'store');
  // Its keys are fp16 too.
  await buildDatastore([`${fixtures}golden/tinystories.train.jsonl`], {
    out,
    model: `${fixtures}models/stories260K`,
    window,
    stride,
    selfTune: false,
  });
  knnlm = await openKnnLM(out);
  for await (const document of readDocuments([`${fixtures}golden/tinystories.valid.jsonl`]))
    if (reference.documents.some(({ id }) => id === document.id)) documents.push(document);
});

afterAll(async () => {
  await knnlm?.close();
  rmSync(folder, { recursive: true });
});

async function logProbsOf(text: string, request: RetrievalRequest): Promise<number[]> {
  const logProbs: number[] = [];
  for await (const piece of knnlm.scoreTokens(text, request))
    logProbs.push(...piece.map(({ logP }) => logP));
  return logProbs;
}

it('is of the same entries and documents', () => {
  expect(knnlm.datastore.entries).toBe(reference.entries);
  expect(documents.map(({ id }) => id)).toEqual(reference.documents.map(({ id }) => id));
});

describe.each(reference.knn)('kNN-LM with k $k, T $temperature, λ $lambda', (expected) => {
  const { k, temperature, lambda } = expected;
  const request: RetrievalRequest = { k, temperature, lambda, semantics: 'knn-transformers' };

  it('gives every token the same log-probability', async () => {
    for (const [i, { text }] of documents.entries())
      expectClose(await logProbsOf(text, request), expected.logProbs[i]!, 2e-4);
  });

  it('gives the same perplexity, with our arithmetic too', async () => {
    for (const semantics of ['exact', 'knn-transformers'] as const) {
      const scored = await knnlm.evaluate(documents, { ...request, semantics });
      // Theirs is the exp of a mean of means; here is one document.
      expect(documents).toHaveLength(1);
      expect(scored.knnlm.perplexity / expected.perplexity).toBeCloseTo(1, 4);
      expect(scored.settings).toEqual({ k, temperature, lambda, semantics });
    }
  });
});

describe.each(reference.retomaton)(
  'RetoMaton that searches below $minKnns pointers',
  (expected) => {
    const { k, temperature, lambda, minKnns, saved } = expected;
    const request: RetrievalRequest = {
      k,
      temperature,
      lambda,
      minPointers: minKnns,
      semantics: 'knn-transformers',
    };

    it('gives every token the same log-probability, after as many searches', async () => {
      for (const [i, document] of documents.entries()) {
        expectClose(await logProbsOf(document.text, request), expected.logProbs[i]!, 1e-3);
        const { searched, knnlm: mixed } = await knnlm.evaluate([document], request);
        expect(searched).toBeCloseTo(1 - saved[i]!, 6);
        const sum = expected.logProbs[i]!.reduce((all, logProb) => all + logProb, 0);
        expect(mixed.nll).toBeCloseTo(-sum, 1);
      }
    });
  },
);

it.each(reference.half)(
  'mixes in half precision as urvashik/knnlm does under --fp16, λ $lambda',
  (row) => {
    for (const [i, lm] of row.lm.entries()) {
      const parts = { lm, knn: row.knn[i]!, lambda: row.lambda };
      // One step of half precision, in case a logarithm was rounded the other way.
      const step = 2 ** (Math.floor(Math.log2(Math.abs(row.mixture[i]!))) - 10);
      const mixed = interpolateAs('fairseq', parts);
      expect(Math.abs(mixed - row.mixture[i]!)).toBeLessThanOrEqual(step);
      expect(interpolateAs('knn-transformers', parts)).toBeCloseTo(row.single[i]!, 5);
      expect(interpolateAs('exact', parts)).toBeCloseTo(row.single[i]!, 4);
    }
  },
);

it('gives a token without votes -10,000 where they do, and refuses a gate', () => {
  const nothing = { lm: -2, knn: Number.NEGATIVE_INFINITY, lambda: 0.5 };
  for (const semantics of ['exact', 'knn-transformers', 'fairseq'] as const)
    expect(interpolateAs(semantics, nothing)).toBeCloseTo(-2 + Math.log(0.5), 2);
  const never = { ...nothing, lm: -20_000 };
  expect(interpolateAs('exact', never)).toBeCloseTo(-20_000 + Math.log(0.5), 6);
  expect(interpolateAs('knn-transformers', never)).toBeCloseTo(-10_000 + Math.log(0.5), 1);
  expect(() => knnlm.settings({ semantics: 'fairy' as 'exact' })).toThrow(
    /one of exact, knn-trans/,
  );
});
