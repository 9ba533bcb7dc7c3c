import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KnnLMError } from '../../dist/errors.js';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import type { ModelRuntime } from '../../dist/model/model-runtime.js';
import { describeGraph } from '../../dist/model/onnx/describe-graph.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import { keyDifferences, openFixture, openRuntime, type Truth } from './hub-fixture.ts';
import { modelsTable, type ResultRow, withoutNumbers, writeModelsTable } from './models-table.ts';
import { fixture, maxDifference } from './support.ts';

const all = readdirSync(fixture('models/hub'))
  .filter((name) => name.endsWith('.onnx.gz'))
  .map((name) => name.replace('.onnx.gz', ''));
/** Cannot be used rightly, so must not be used. */
const refused = all.filter((name) =>
  ['.int8', 'gemma3.merged', 'gemma2.genai-fp32', 'qwen3.genai-fp16'].some((end) =>
    name.endsWith(end),
  ),
);
const names = all.filter((name) => !refused.includes(name));
const rows = new Map<string, ResultRow>();
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-hub-'));
afterAll(() => rmSync(temporary, { recursive: true }));

/** Largest differences allowed from PyTorch in float32, by the end of the fixture's name. */
const tolerances: Record<string, number> = {
  // Rounds at 10⁻³ of a state of size 1 to 8, several times.
  '.fp16': 5e-2,
  '.q4f16': 5e-2,
  // Products with activations of 8 bits in blocks of 32 (accuracy_level 4).
  '.genai-int4': 0.3,
};
const toleranceOf = (name: string): number =>
  Object.entries(tolerances).find(([end]) => name.endsWith(end))?.[1] ?? 1e-4;

/** Families whose attention and feed-forward network read the residual side by side. */
const parallel = [
  'gpt_neox',
  'phi',
  'gptj',
  'codegen',
  'cohere',
  'cohere2',
  'falcon-7b',
  'falcon-40b',
  'stablelm-2-12b',
];

interface StepExpectation {
  middle: number;
  last: number;
  tolerance: number;
  truth: Truth;
}

/** Have a cache, but their steps cannot be shared by texts of different lengths. */
const oneByOne = [
  // Windows of attention that are shorter than the text.
  ...['cohere2', 'exaone4', 'gpt_neo', 'gpt_oss', 'mistral', 'olmo3', 'phi3', 'starcoder2'],
  // Positions that come from the length of the cache.
  ...['gemma', 'gemma2', 'gemma3', 'mpt', 'nemotron'],
  // One fused node that keeps the cache.
  'genai',
];
const isOneByOne = (name: string): boolean =>
  name.split(/[.-]/).some((part) => oneByOne.includes(part));

/**
 * The texts' last tokens read by two decoders at the same time, one of which has read more.
 * @returns whether they shared their steps
 */
async function stepTogether(
  runtime: ModelRuntime,
  tokens: Int32Array,
  { middle, last, tolerance, truth }: StepExpectation,
): Promise<boolean> {
  const ends = [last, middle];
  const decoders = await Promise.all(ends.map(() => runtime.startDecoding()));
  const parts = (from: number, to: number) =>
    Promise.all(
      decoders.map((id, i) => runtime.read(id, tokens.slice(ends[i]! + from, ends[i]! + to))),
    );
  await Promise.all(decoders.map((id, i) => runtime.read(id, tokens.slice(0, ends[i]! - 1))));
  await parts(-1, 0);
  const states = await parts(0, 1);
  for (const [i, position] of [1, 0].entries()) {
    expect(maxDifference(states[i]!.key, truth.keys['ffn-input']![position]!)).toBeLessThan(
      tolerance,
    );
    expect(maxDifference(states[i]!.logProbs, truth.logProbs[position]!)).toBeLessThan(tolerance);
  }
  return runtime.sharesSteps();
}

describe.each(names)('%s', (name) => {
  const model = openFixture(name, temporary);
  const { graph, truth, description, located } = model;
  const tokens = Int32Array.from(truth.tokens);
  const tolerance = toleranceOf(name);
  const [middle, last] = truth.positions;
  const row: ResultRow = { name, exporter: truth.exporter, keys: KEY_NAMES.length };
  rows.set(name, row);

  it('has each key where PyTorch hooks saw it, and none where the family has none', async () => {
    const layers = name.startsWith('lfm2') ? 3 : 2;
    expect(description).toMatchObject({ problems: [], dtype: truth.dtype, layers });
    const parallelResidual = parallel.includes(name.split('.')[0]!);
    // Convolutions stand in for attention in some layers of LFM2.
    const ofAttention = name.startsWith('lfm2-conv') ? 1 : 2;
    expect(located).toMatchObject({ warnings: [], layers: ofAttention, parallelResidual });
    const differences = await keyDifferences(graph, truth);
    expect(Object.keys(differences).sort()).toEqual(Object.keys(truth.keys).sort());
    for (const key of KEY_NAMES) {
      if (truth.keys[key]) expect(differences[key], key).toBeLessThan(tolerance);
    }
    row.keys = Object.keys(differences).length;
    row.keyDifference = Math.max(...Object.values(differences));
  });

  it('still has them after onnxruntime has fused what it can and saved the result', async () => {
    const optimizedModelFilePath = join(temporary, `${name}.fused.onnx`);
    const ort = await loadOnnxRuntime();
    const options = { optimizedModelFilePath, intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    await (await ort.InferenceSession.create(model.path, options)).release();
    const fused = readGraph(optimizedModelFilePath);
    expect(fused.nodes.length).not.toBe(graph.nodes.length);
    const differences = await keyDifferences(fused, truth);
    expect(Object.keys(differences).sort()).toEqual(Object.keys(truth.keys).sort());
    expect(Math.max(...Object.values(differences))).toBeLessThan(tolerance);
  });

  it('gives the log-probabilities of PyTorch, scored at once or read in parts from the cache, alone or in a batch', async () => {
    const runtime = await openRuntime(model);
    const targets = Int32Array.from(tokens, (_, i) => tokens[(i + 1) % tokens.length]!);
    const other = Int32Array.from(tokens.subarray(3, 3 + middle), (id) => 99 - id);
    const [scored] = await runtime.score([tokens, other], [targets, other]);
    truth.positions.forEach((position, i) => {
      const expected = truth.logProbs[i]![targets[position]!]!;
      expect(Math.abs(scored!.logProbs[position]! - expected)).toBeLessThan(tolerance);
    });
    const { cache } = describeGraph(readGraph(model.path, { cached: true }));
    expect(cache.length > 0).toBe(truth.cache);
    const decoder = await runtime.startDecoding();
    const parts = [tokens.slice(0, middle + 1), tokens.slice(middle + 1, last + 1)];
    row.logProbDifference = 0;
    for (const [i, part] of parts.entries()) {
      const { key, logProbs } = await runtime.read(decoder, part);
      const difference = maxDifference(logProbs, truth.logProbs[i]!);
      expect(difference).toBeLessThan(tolerance);
      row.logProbDifference = Math.max(row.logProbDifference, difference);
      expect(maxDifference(key, truth.keys['ffn-input']![i]!)).toBeLessThan(tolerance);
    }
    const [key] = await runtime.keys([tokens]);
    expect(maxDifference(key!, scored!.keys)).toBeLessThan(tolerance);
    row.cache = cache.length > 0;
    row.together = await stepTogether(runtime, tokens, { middle, last, tolerance, truth });
    expect(row.together).toBe(truth.cache && !isOneByOne(name));
    await runtime.close();
  });
});

it.each(refused)('%s is refused with the reason before its first use', async (name) => {
  const model = openFixture(name, temporary);
  const { problems } = model.description;
  const runtime = await openRuntime(model);
  const reason = await runtime
    .prepare('keys')
    .then(
      () => runtime.prepare('decode'),
      (error) => error,
    )
    .catch((error) => error);
  await runtime.close();
  expect(reason).toBeInstanceOf(KnnLMError);
  const message = (reason as Error).message.replace(/^.* failed a check: /, '');
  rows.set(name, {
    name,
    exporter: model.truth.exporter,
    keys: Object.values(model.located.keys).filter((key) => key.tensor).length,
    refused: problems[0] ?? message,
  });
});

it('docs/models.md has these results', () => {
  const ordered = all.map((name) => rows.get(name)!);
  if (process.env.KNNLM_WRITE_DOCS) writeModelsTable(ordered);
  const { written, table } = modelsTable(ordered);
  expect(withoutNumbers(written)).toBe(withoutNumbers(table));
});
