import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { KEY_NAMES } from '../../dist/model/language-model.js';
import { readGraph } from '../../dist/model/onnx/read-graph.js';
import { loadOnnxRuntime } from '../../dist/onnxruntime.js';
import { keyDifferences } from './hub-fixture.ts';
import { modelsTable, type ResultRow, withoutNumbers, writeModelsTable } from './models-table.ts';
import { encodedSource, openSeq2Seq, openSeq2SeqRuntime, seq2seqNames } from './seq2seq-fixture.ts';
import { maxDifference } from './support.ts';

const all = seq2seqNames();
const refused = all.filter((name) => name.endsWith('.int8'));
const names = all.filter((name) => !refused.includes(name));
const rows = new Map<string, ResultRow>();
const temporary = mkdtempSync(join(tmpdir(), 'knnlm-seq2seq-'));
afterAll(() => rmSync(temporary, { recursive: true }));

describe.each(names)('%s', (name) => {
  const model = openSeq2Seq(name, temporary);
  const { truth, description, located, path } = model;
  const tokens = Int32Array.from(truth.tokens);
  const source = Int32Array.from(truth.source);
  const other = Int32Array.from([9, 8, 7, 2]);
  const tolerance = truth.dtype === 'fp16' ? 5e-2 : 1e-4;
  const [middle, last] = truth.positions;
  const row: ResultRow = { name, exporter: truth.exporter, keys: KEY_NAMES.length };
  rows.set(name, row);

  it('has each of the six keys of its decoder where PyTorch hooks saw it', async () => {
    expect(description).toMatchObject({ problems: [], dtype: truth.dtype, layers: 2 });
    expect(located).toMatchObject({ warnings: [], layers: 2, parallelResidual: false });
    const differences = await keyDifferences(model.graph, truth, await encodedSource(model));
    for (const key of KEY_NAMES) expect(differences[key], key).toBeLessThan(tolerance);
    row.keyDifference = Math.max(...Object.values(differences));
  });

  it('still has them after onnxruntime has fused what it can and saved the result', async () => {
    const optimizedModelFilePath = join(temporary, `${name}.fused.onnx`);
    const ort = await loadOnnxRuntime();
    const options = { optimizedModelFilePath, intraOpNumThreads: 1, logSeverityLevel: 3 } as const;
    await (await ort.InferenceSession.create(path, options)).release();
    const fused = readGraph(optimizedModelFilePath);
    const differences = await keyDifferences(fused, truth, await encodedSource(model));
    for (const key of KEY_NAMES) expect(differences[key], key).toBeLessThan(tolerance);
  });

  it('gives the log-probabilities of PyTorch, scored at once or read in parts from the cache, alone or beside a shorter pair', async () => {
    const runtime = await openSeq2SeqRuntime(model);
    const targets = Int32Array.from(tokens, (_, i) => tokens[(i + 1) % tokens.length]!);
    const short = tokens.subarray(0, 4);
    const [scored, beside] = await runtime.score(
      [tokens, short],
      [targets, short],
      [source, other],
    );
    truth.positions.forEach((position, i) => {
      const expected = truth.logProbs[i]![targets[position]!]!;
      expect(Math.abs(scored!.logProbs[position]! - expected)).toBeLessThan(tolerance);
    });
    const [alone] = await runtime.score([short], [short], [other]);
    expect(maxDifference(beside!.keys, alone!.keys)).toBeLessThan(tolerance);
    const decoder = await runtime.startDecoding(source);
    const parts = [tokens.slice(0, middle + 1), tokens.slice(middle + 1, last + 1)];
    row.logProbDifference = 0;
    for (const [i, part] of parts.entries()) {
      const { key, logProbs } = await runtime.read(decoder, part);
      const difference = maxDifference(logProbs, truth.logProbs[i]!);
      expect(difference).toBeLessThan(tolerance);
      row.logProbDifference = Math.max(row.logProbDifference, difference);
      expect(maxDifference(key, truth.keys['ffn-input']![i]!)).toBeLessThan(tolerance);
    }
    row.cache = truth.cache;
    await runtime.close();
  });

  it('reads beams side by side as it reads each alone', async () => {
    const runtime = await openSeq2SeqRuntime(model);
    const d = truth.keys['ffn-input']![0]!.length;
    const beams = [
      [1, 5, 9, 30],
      [1, 5, 80, 31],
      [1, 6, 40, 32],
    ];
    const decoder = await runtime.startDecoding(source);
    await runtime.read(decoder, Int32Array.of(1));
    await runtime.step(decoder, [0, 0], Int32Array.of(5, 6));
    // The first of the two is continued twice, and the order changes.
    await runtime.step(decoder, [1, 0, 0], Int32Array.of(40, 9, 80));
    const { keys, logProbs } = await runtime.step(decoder, [1, 2, 0], Int32Array.of(30, 31, 32));
    for (const [i, beam] of beams.entries()) {
      const one = await runtime.startDecoding(source);
      const alone = await runtime.read(one, Int32Array.from(beam));
      expect(maxDifference(keys.subarray(i * d, (i + 1) * d), alone.key)).toBeLessThan(tolerance);
      const own = logProbs.subarray(i * 100, (i + 1) * 100);
      expect(maxDifference(own, alone.logProbs)).toBeLessThan(tolerance);
    }
    // Begun again it has the same source, once.
    runtime.resetDecoder(decoder);
    const { key } = await runtime.read(decoder, tokens);
    expect(maxDifference(key, truth.keys['ffn-input']![1]!)).toBeLessThan(tolerance);
    await runtime.close();
  });
});

it.each(refused)('%s is refused with the reason before its first use', async (name) => {
  const model = openSeq2Seq(name, temporary);
  const [problem] = model.description.problems;
  expect(problem).toMatch(/quantizes activations while running/);
  rows.set(name, { name, exporter: model.truth.exporter, keys: 6, refused: problem! });
  const runtime = await openSeq2SeqRuntime(model);
  await expect(runtime.keys([Int32Array.of(1, 2)], [Int32Array.of(3, 4)])).rejects.toThrow(
    /changes states before it|beside another/,
  );
  await runtime.close();
});

it('docs/models.md has these results', () => {
  const ordered = all.map((name) => rows.get(name)!);
  if (process.env.KNNLM_WRITE_DOCS) writeModelsTable(ordered, 'encoder-decoders');
  const { written, table } = modelsTable(ordered, 'encoder-decoders');
  expect(withoutNumbers(written)).toBe(withoutNumbers(table));
});
