import { describe, expect, it } from 'vitest';
import { findBoundaryTokens } from '../../dist/model/boundary-tokens.js';
import { tokenizerFingerprint } from '../../dist/model/fingerprint.js';
import { readPairs, templateOf } from '../../dist/model/pair-reading.js';
import { checkSource } from '../../dist/model/self-check.js';
import type { PairOptions } from '../../src/model/pair-reading.ts';

/** A post-processor of Hugging Face's tokenizers, as tokenizer.json spells it. */
const template = (single: string[], ids: Record<string, number>) => ({
  type: 'TemplateProcessing',
  single: single.map((piece) =>
    piece === '$A'
      ? { Sequence: { id: 'A', type_id: 0 } }
      : { SpecialToken: { id: piece, type_id: 0 } },
  ),
  pair: [],
  special_tokens: Object.fromEntries(
    Object.entries(ids).map(([id, number]) => [id, { id, ids: [number], tokens: [id] }]),
  ),
});

const languages: Record<string, number> = { __en__: 128022, __de__: 128020, deu_Latn: 256042 };

function reading(
  config: Record<string, unknown>,
  postProcessor: unknown,
  options: PairOptions = {},
  generationConfig: Record<string, unknown> = {},
) {
  const idOf = (content: string) => languages[content];
  const sources = { config, generationConfig, tokenizerConfig: {}, idOf, encoderDecoder: true };
  const boundary = findBoundaryTokens(sources);
  return { boundary, ...readPairs({ ...sources, postProcessor, boundary }, options) };
}

const marian = { eos_token_id: 0, pad_token_id: 58100, decoder_start_token_id: 58100 };
const m2m = { bos_token_id: 0, eos_token_id: 2, pad_token_id: 1, decoder_start_token_id: 2 };

describe('a pair is read as the family was trained', () => {
  it('Marian and T5: a source ends in </s>, a target begins with padding', () => {
    const pairs = reading(marian, template(['$A', '</s>'], { '</s>': 0 }));
    expect(pairs).toMatchObject({ sourceStart: [], sourceEnd: [0], targetStart: [] });
    expect(pairs.boundary).toMatchObject({ bos: 58100, eos: 0 });
    // Padding is never generated.
    expect(pairs.forbidden).toEqual([58100]);
    const t5 = { eos_token_id: 1, pad_token_id: 0, decoder_start_token_id: 0 };
    const prefix = 'translate English to German: ';
    expect(
      reading(t5, template(['$A', '</s>'], { '</s>': 1 }), { sourcePrefix: prefix }),
    ).toMatchObject({ sourceStart: [], sourceEnd: [1], targetStart: [], sourcePrefix: prefix });
  });

  it('BART: <s> and </s> around both, and the decoder starts from </s>', () => {
    const bart = { bos_token_id: 0, eos_token_id: 2, pad_token_id: 1, decoder_start_token_id: 2 };
    const processor = { type: 'RobertaProcessing', sep: ['</s>', 2], cls: ['<s>', 0] };
    const pairs = reading(bart, processor);
    expect(pairs).toMatchObject({ sourceStart: [0], sourceEnd: [2], targetStart: [0] });
    expect(pairs.boundary).toMatchObject({ bos: 2, eos: 2 });
    // The end is generated though it is the start as well.
    expect(pairs.forbidden).toEqual([1]);
  });

  it('M2M100 and NLLB: languages where the template has one, each side with its own', () => {
    const processor = template(['__en__', '$A', '</s>'], { __en__: 128022, '</s>': 2 });
    expect(reading(m2m, processor, { sourceLanguage: 'de', targetLanguage: 'en' })).toMatchObject({
      sourceStart: [128020],
      sourceEnd: [2],
      targetStart: [128022],
    });
    expect(reading(m2m, processor, { targetLanguage: 'deu_Latn' })).toMatchObject({
      sourceStart: [128022],
      targetStart: [256042],
    });
    // As NLLB's tokenizers had it at first.
    const behind = template(['$A', '</s>', '__en__'], { __en__: 128022, '</s>': 2 });
    expect(reading(m2m, behind, { targetLanguage: 'de' })).toMatchObject({
      sourceStart: [],
      sourceEnd: [2, 128022],
      targetStart: [128020],
    });
  });

  it('without a template a source ends like a text', () => {
    for (const processor of [null, { type: 'ByteLevel' }, { type: 'Sequence', processors: [] }]) {
      expect(reading(marian, processor)).toMatchObject({ sourceStart: [], sourceEnd: [0] });
    }
    const nested = {
      type: 'Sequence',
      processors: [{ type: 'ByteLevel' }, template(['$A', 'x'], { x: 7 })],
    };
    expect(templateOf(nested)).toEqual({ start: [], end: [7] });
  });

  it('searches as the settings of the model say', () => {
    const processor = template(['$A', '</s>'], { '</s>': 0 });
    const generation = { num_beams: 6, length_penalty: 0.8, bad_words_ids: [[58100], [5], [1, 2]] };
    expect(reading(marian, processor, {}, generation)).toMatchObject({
      beams: 6,
      lengthPenalty: 0.8,
      forbidden: [58100, 5],
    });
    expect(reading(marian, processor)).toMatchObject({ beams: 1, lengthPenalty: 1 });
    expect(reading({ ...marian, num_beams: 4 }, processor)).toMatchObject({ beams: 4 });
  });

  it('refuses a language that is missing or unknown, in one line', () => {
    const processor = template(['__en__', '$A', '</s>'], { __en__: 128022, '</s>': 2 });
    expect(() => reading(m2m, processor)).toThrow(/several languages.*--target-language/);
    expect(() => reading(m2m, processor, { targetLanguage: 'klingon' })).toThrow(
      /no token for the target language "klingon"/,
    );
    const plain = template(['$A', '</s>'], { '</s>': 0 });
    expect(() => reading(marian, plain, { sourceLanguage: 'xx' })).toThrow(/source language "xx"/);
  });
});

it('takes the start of the decoder from either configuration, or the one of texts', () => {
  const find = (config: object, generationConfig: object) =>
    findBoundaryTokens({
      config: config as Record<string, unknown>,
      generationConfig: generationConfig as Record<string, unknown>,
      tokenizerConfig: {},
      idOf: () => undefined,
      encoderDecoder: true,
    });
  expect(find({ eos_token_id: 2 }, { decoder_start_token_id: 9 })).toMatchObject({
    bos: 9,
    bosRule: 'decoder_start_token_id of generation_config.json',
  });
  expect(find({ eos_token_id: 2, bos_token_id: 1 }, {})).toMatchObject({ bos: 1 });
});

it('makes other tokens of a model that is told something else', () => {
  const json = Buffer.from('{}');
  const boundary = { bos: 2, eos: 2 };
  const processor = template(['__en__', '$A', '</s>'], { __en__: 128022, '</s>': 2 });
  const prints = [
    tokenizerFingerprint(json, boundary),
    ...[
      { targetLanguage: 'de' },
      { targetLanguage: 'en' },
      { targetLanguage: 'de', sourcePrefix: 'x' },
    ].map((options) => tokenizerFingerprint(json, boundary, reading(m2m, processor, options))),
  ];
  expect(new Set(prints).size).toBe(4);
});

it('sees a decoder that does not heed its source', async () => {
  const options = { vocabSize: 50, bos: 1, contextLength: 64, dtype: 'fp32' } as const;
  const state = (value: number) => async (window: Int32Array) =>
    Float32Array.from(window, (id) => id + value);
  const heeds = (window: Int32Array, source: Int32Array) =>
    state(source.reduce((sum, id) => sum + id, 0))(window);
  expect(await checkSource(heeds, options)).toBeUndefined();
  expect(await checkSource(state(1), options)).toContain('whatever the source');
});
