import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { groupByLength, groupBySizes } from '../../dist/model/batching.js';
import { findBoundaryTokens } from '../../dist/model/boundary-tokens.js';
import { weightsFingerprint } from '../../dist/model/fingerprint.js';
import { logSoftmax } from '../../dist/model/log-softmax.js';
import { readModelConfig } from '../../dist/model/model-config.js';
import { rankGraphs } from '../../dist/model/model-files.js';

describe('grouping windows into batches', () => {
  it('takes every window once, within the limits of tokens and padding', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 60 }), (lengths) => {
        const batches = groupByLength(lengths, { maxTokens: 512, maxPadding: 0.1 });
        expect(batches.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
        for (const batch of batches) {
          const longest = Math.max(...batch.map((i) => lengths[i]!));
          const tokens = batch.reduce((sum, i) => sum + lengths[i]!, 0);
          if (batch.length > 1) expect(longest * batch.length).toBeLessThanOrEqual(512);
          expect(tokens).toBeGreaterThanOrEqual(0.9 * longest * batch.length - 1e-9);
        }
      }),
    );
  });

  it('pads each of several lengths to the longest of its kind', () => {
    const sizes = fc.array(
      fc.tuple(fc.integer({ min: 1, max: 99 }), fc.integer({ min: 1, max: 99 })),
    );
    fc.assert(
      fc.property(sizes, (pairs) => {
        const batches = groupBySizes(pairs, { maxTokens: 256, maxPadding: 0.25 });
        expect(batches.flat().sort((a, b) => a - b)).toEqual(pairs.map((_, i) => i));
        for (const batch of batches) {
          const longest = [0, 1].map((kind) => Math.max(...batch.map((i) => pairs[i]![kind]!)));
          const size = (longest[0]! + longest[1]!) * batch.length;
          const tokens = batch.reduce((sum, i) => sum + pairs[i]![0] + pairs[i]![1], 0);
          if (batch.length > 1) expect(size).toBeLessThanOrEqual(256);
          expect(tokens).toBeGreaterThanOrEqual(0.75 * size - 1e-9);
        }
      }),
    );
  });

  it('puts equal lengths together', () => {
    expect(groupByLength([8, 8, 8, 8, 8], { maxTokens: 16 })).toEqual([[0, 1], [2, 3], [4]]);
  });
});

describe('the tokens around a document', () => {
  const find = (config: object, generationConfig = {}, tokenizerConfig = {}) => {
    const ids: Record<string, number> = { '<s>': 11, '</s>': 12 };
    return findBoundaryTokens({
      config: config as Record<string, unknown>,
      generationConfig,
      tokenizerConfig,
      idOf: (content) => ids[content],
    });
  };

  it('are those of config.json first', () => {
    const tokens = find({ bos_token_id: 1, eos_token_id: 2 }, { bos_token_id: 3, eos_token_id: 4 });
    expect(tokens).toMatchObject({ bos: 1, eos: 2, stopTokens: [2, 4] });
  });

  it('end with the first of a list, and all of it stops generation', () => {
    expect(find({ bos_token_id: 9, eos_token_id: [5, 6, 7] })).toMatchObject({
      eos: 5,
      stopTokens: [5, 6, 7],
      eosRule: 'eos_token_id of config.json, first of [5, 6, 7]',
    });
  });

  it('come from the tokenizer where config.json is silent', () => {
    const tokens = find({}, {}, { bos_token: '<s>', eos_token: { content: '</s>' } });
    expect(tokens).toMatchObject({
      bos: 11,
      eos: 12,
      bosRule: 'bos_token of tokenizer_config.json',
    });
  });

  it('start with the end token when there is no start token', () => {
    expect(find({ bos_token_id: null, eos_token_id: 0 })).toMatchObject({
      bos: 0,
      eos: 0,
      bosRule: 'no start token is named: the end token is read',
    });
  });

  it('are found one level down in models that read more than text', () => {
    expect(find({ text_config: { bos_token_id: 2, eos_token_id: 1 } })).toMatchObject({
      bos: 2,
      eos: 1,
    });
  });
});

describe('the fingerprint of weights', () => {
  const folder = mkdtempSync(join(tmpdir(), 'knnlm-fingerprint-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (name: string) => join(folder, name);

  it('changes with any byte, the size, and the order of files', () => {
    writeFileSync(file('a'), Buffer.alloc(3_000_000, 1));
    writeFileSync(file('b'), Buffer.from('b'));
    const before = weightsFingerprint([file('a'), file('b')]);
    expect(weightsFingerprint([file('a'), file('b')])).toBe(before);
    expect(weightsFingerprint([file('b'), file('a')])).not.toBe(before);
    const bytes = Buffer.alloc(3_000_000, 1);
    bytes[2_999_999] = 2;
    writeFileSync(file('a'), bytes);
    expect(weightsFingerprint([file('a'), file('b')])).not.toBe(before);
    truncateSync(file('a'), 2_999_999);
    expect(weightsFingerprint([file('a'), file('b')])).not.toBe(before);
  });

  it('reads samples of a file of gigabytes, its first and last bytes among them', async () => {
    const size = 3 * 2 ** 30;
    const handle = await open(file('huge'), 'w');
    await handle.truncate(size);
    const before = weightsFingerprint([file('huge')]);
    await handle.write('x', size - 1);
    const last = weightsFingerprint([file('huge')]);
    await handle.write('x', 0);
    await handle.close();
    expect(new Set([before, last, weightsFingerprint([file('huge')])]).size).toBe(3);
  });

  it('says which file cannot be read', () => {
    expect(() => weightsFingerprint([file('nothing')])).toThrow(
      /Cannot read .*nothing: it does not exist/,
    );
  });
});

describe('choosing a graph by name', () => {
  it('prefers exact numbers, model.onnx, and the onnx folder', () => {
    const ranked = rankGraphs([
      'onnx/model_quantized.onnx',
      'onnx/model_q4f16.onnx',
      'onnx/decoder_model_merged.onnx',
      'onnx/model_fp16.onnx',
      'model.onnx',
      'onnx/model.onnx',
      'onnx/decoder_with_past_model.onnx',
      'onnx/model.onnx_data',
      'README.md',
    ]);
    expect(ranked).toEqual([
      { file: 'onnx/model.onnx', dtype: 'fp32' },
      { file: 'model.onnx', dtype: 'fp32' },
      { file: 'onnx/decoder_model_merged.onnx', dtype: 'fp32' },
      { file: 'onnx/model_fp16.onnx', dtype: 'fp16' },
      { file: 'onnx/model_q4f16.onnx', dtype: 'q4f16' },
      { file: 'onnx/model_quantized.onnx', dtype: 'int8' },
    ]);
  });

  it('finds what belongs to a decoder beside it, in its number format if there is one', () => {
    const ranked = rankGraphs([
      'onnx/decoder_model.onnx',
      'onnx/decoder_model_merged.onnx',
      'onnx/decoder_model_fp16.onnx',
      'onnx/decoder_with_past_model_fp16.onnx',
      'onnx/encoder_model.onnx',
      'onnx/encoder_model_q4.onnx',
      'onnx/decoder_model_merged_q4.onnx',
      'decoder_model_q4f16.onnx',
      'encoder_model_int8.onnx',
    ]);
    const encoder = 'onnx/encoder_model.onnx';
    expect(ranked).toEqual([
      { file: 'onnx/decoder_model_merged.onnx', dtype: 'fp32', encoder },
      // It cannot read on.
      { file: 'onnx/decoder_model.onnx', dtype: 'fp32', encoder },
      {
        file: 'onnx/decoder_model_fp16.onnx',
        dtype: 'fp16',
        encoder,
        onward: 'onnx/decoder_with_past_model_fp16.onnx',
      },
      {
        file: 'onnx/decoder_model_merged_q4.onnx',
        dtype: 'q4',
        encoder: 'onnx/encoder_model_q4.onnx',
      },
      { file: 'decoder_model_q4f16.onnx', dtype: 'q4f16', encoder: 'encoder_model_int8.onnx' },
    ]);
  });

  it('takes a lone graph of any name', () => {
    expect(rankGraphs(['gpt2.onnx', 'x.txt'])).toEqual([{ file: 'gpt2.onnx', dtype: 'fp32' }]);
    expect(rankGraphs(['a.onnx', 'b.onnx'])).toEqual([]);
  });
});

describe('the shape of a model', () => {
  it('is read under the names of GPT-2', () => {
    expect(
      readModelConfig({
        model_type: 'gpt2',
        n_embd: 768,
        n_layer: 12,
        n_head: 12,
        n_positions: 1024,
        vocab_size: 50257,
      }),
    ).toEqual({
      family: 'gpt2',
      isEncoderDecoder: false,
      hiddenSize: 768,
      layers: 12,
      vocabSize: 50257,
      contextLength: 1024,
      contextLengthKnown: true,
      keyValueHeads: 12,
      headDim: 64,
      uniformLength: undefined,
    });
  });

  it.each([
    [{ sliding_window: 4096 }, 4096],
    [{ sliding_window: 32768, use_sliding_window: false }, undefined],
    [{ sliding_window: null, window_size: 256 }, 256],
    [{ text_config: { sliding_window: 512 } }, 512],
    [{ rope_scaling: { rope_type: 'llama3', original_max_position_embeddings: 8192 } }, undefined],
    [{ rope_scaling: { type: 'longrope' }, original_max_position_embeddings: 4096 }, 4096],
    [{ rope_parameters: { full: { rope_type: 'dynamic' } }, max_position_embeddings: 99 }, 99],
  ])('%j sees all of a text, wherever it ends, up to %s positions', (settings, length) => {
    expect(readModelConfig({ model_type: 'llama', ...settings }).uniformLength).toBe(length);
  });

  it('has an assumed context length when nothing names one', () => {
    const config = readModelConfig({ model_type: 'bloom' }, { model_max_length: 1e30 });
    expect(config).toMatchObject({ contextLength: 1024, contextLengthKnown: false });
  });
});

it('log-softmax sums to one for logits of any size', () => {
  fc.assert(
    fc.property(
      fc.array(fc.float({ min: -1000, max: 1000, noNaN: true }), { minLength: 1, maxLength: 50 }),
      (logits) => {
        const logProbs = logSoftmax(Float32Array.from(logits));
        expect(logProbs.reduce((sum, x) => sum + Math.exp(x), 0)).toBeCloseTo(1, 3);
      },
    ),
  );
});
