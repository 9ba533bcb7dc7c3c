/** A text as the model reads it. */
import { KnnLMError } from '../errors.ts';
import type { LanguageModel } from '../model/language-model.ts';

/** A text, or the target of a source. */
export interface Text {
  text: string;
  sourceText?: string | undefined;
  /** Where it came from, for messages. */
  source?: string;
}

export interface ReadText {
  /** (n + 1) BOS, t1 … tn */
  inputs: Int32Array;
  /** (n + 1) t1 … tn, EOS */
  targets: Int32Array;
  /** Of a pair: the source as the encoder reads it. */
  sourceIds: Int32Array | undefined;
}

/** Errors: those of `encodeText`, and `INVALID_DOCUMENT` for a source that is too long. */
export async function readTokens(text: Text, model: LanguageModel): Promise<ReadText> {
  const read = await encodeText(text, model);
  requireShort(text, read.sourceIds, model);
  return read;
}

/**
 * Of a pair t1 … tn begin with what every target begins with (`PairReading.targetStart`), as the labels do that such a model is trained on.
 * Errors: `INVALID_DOCUMENT` for a text where the model reads pairs, or a pair where it reads texts.
 */
export async function encodeText(text: Text, model: LanguageModel): Promise<ReadText> {
  const { pairs } = model.info;
  checkKind(text, model);
  const { sourceText } = text;
  const [[ids], sources] = await Promise.all([
    model.encodeDocuments([text.text]),
    sourceText === undefined ? undefined : model.encodeSources([sourceText]),
  ]);
  const tokens = pairs ? Int32Array.from([...pairs.targetStart, ...ids!]) : ids!;
  const inputs = new Int32Array(tokens.length + 1);
  const targets = new Int32Array(tokens.length + 1);
  inputs[0] = model.tokenizer.bos;
  inputs.set(tokens, 1);
  targets.set(tokens);
  targets[tokens.length] = model.tokenizer.eos;
  return { inputs, targets, sourceIds: sources?.[0] };
}

/** Undefined for a text without one. Errors: `INVALID_DOCUMENT` for a source that is too long. */
export async function sourceTokens(
  { sourceText, source }: Omit<Text, 'text'>,
  model: LanguageModel,
): Promise<Int32Array | undefined> {
  if (sourceText === undefined) return undefined;
  const [ids] = await model.encodeSources([sourceText]);
  requireShort({ source }, ids, model);
  return ids;
}

/** Why a source cannot be read. Undefined when it can, or there is none. */
export function sourceProblem(
  ids: Int32Array | undefined,
  { info: { contextLength, name } }: LanguageModel,
): string | undefined {
  if (ids === undefined || ids.length <= contextLength) return undefined;
  return `has a source of ${ids.length} tokens, but ${name} reads at most ${contextLength} at once`;
}

function requireShort(
  { source = 'A pair' }: Pick<Text, 'source'>,
  ids: Int32Array | undefined,
  model: LanguageModel,
): void {
  const problem = sourceProblem(ids, model);
  if (problem === undefined) return;
  throw new KnnLMError('INVALID_DOCUMENT', `${source} ${problem}. Split it into sentences.`);
}

/** Of windows read together, as the model wants them: one each of pairs, none of texts. */
export function sourcesOf(
  windows: readonly Partial<Pick<ReadText, 'sourceIds'>>[],
): Int32Array[] | undefined {
  const sources = windows.map(({ sourceIds }) => sourceIds);
  return sources.every((ids) => ids !== undefined) ? sources : undefined;
}

function checkKind({ sourceText, source }: Text, { info }: LanguageModel): void {
  if ((info.pairs !== undefined) === (sourceText !== undefined)) return;
  throw new KnnLMError(
    'INVALID_DOCUMENT',
    info.pairs
      ? `${info.name} is an encoder-decoder and reads pairs, but ${source ?? 'a document'} is a text alone. Give pairs of a source and its target.`
      : `${info.name} reads texts, but ${source ?? 'a document'} is a pair of a source and its target. Use an encoder-decoder, such as a translation model.`,
  );
}
