/**
 * How an encoder-decoder reads a pair of texts, a source and its target, as it did when it was trained:
 *
 *   encoder   [start] source [end]
 *   decoder   decoder_start_token_id [target start] t1 … tn   and predicts   [target start] t1 … tn EOS
 *
 * What stands around a text is what tokenizer.json's post-processor puts there: nothing and </s> (Marian, T5), <s> and </s> (BART),
 * a language and </s> (M2M100, NLLB). A target begins with what a source begins with, its own language in the source's place.
 * Nothing is shifted: the decoder's input is the target one position late (Khandelwal et al., 2021).
 */
import { KnnLMError } from '../errors.ts';
import type { BoundaryTokens } from './boundary-tokens.ts';

/** What the user may say of the texts. */
export interface PairOptions {
  /** Text before every source, such as T5's `translate English to German: `. Default: none. */
  sourcePrefix?: string | undefined;
  /** Of models for many languages: those of sources and targets, as the tokenizer names them: `en` or `__en__`, `deu_Latn`. */
  sourceLanguage?: string | undefined;
  targetLanguage?: string | undefined;
}

export interface PairReading extends PairOptions {
  /** Token ids before and after every source. */
  sourceStart: readonly number[];
  sourceEnd: readonly number[];
  /** Token ids that every target begins with. */
  targetStart: readonly number[];
  /** What the model's own settings say of the search for a target: how many beams, and the exponent of the length that scores are divided by. */
  beams: number;
  lengthPenalty: number;
  /** Tokens that are never generated: padding, the decoder's start, and what the settings forbid. */
  forbidden: readonly number[];
}

/** Parsed files of the model folder, `{}` where a file is absent. */
export interface PairSources {
  config: Record<string, unknown>;
  generationConfig: Record<string, unknown>;
  /** Of tokenizer.json. */
  postProcessor: unknown;
  /** Id of a token's text. */
  idOf: (content: string) => number | undefined;
  boundary: BoundaryTokens;
}

/** Errors: `INVALID_ARGUMENT` for a language that the tokenizer does not have, or that is missing. */
export function readPairs(sources: PairSources, options: PairOptions): PairReading {
  const { config, generationConfig, boundary, idOf } = sources;
  const setting = (name: string): unknown => generationConfig[name] ?? config[name];
  const { start, end } = templateOf(sources.postProcessor) ?? { start: [], end: [boundary.eos] };
  const known = new Set([boundary.eos, ...numbers(config.bos_token_id, config.pad_token_id)]);
  /** A token of the template that is neither beginning nor end is the language. */
  const isLanguage = (id: number): boolean => !known.has(id);
  const isMultilingual = [...start, ...end].some(isLanguage);
  const from = languageToken('source', options.sourceLanguage, idOf);
  const to = languageToken('target', options.targetLanguage, idOf);
  if (isMultilingual && to === undefined) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'The model translates into several languages. Say into which with --target-language (and from which with --source-language), as its tokenizer names them.',
    );
  }
  const inSource = (ids: readonly number[]): number[] =>
    ids.map((id) => (isLanguage(id) ? (from ?? id) : id));
  const language = to === undefined ? [] : [to];
  const beams = setting('num_beams');
  const lengthPenalty = setting('length_penalty');
  return {
    ...options,
    sourceStart: from !== undefined && !isMultilingual ? [from, ...start] : inSource(start),
    sourceEnd: inSource(end),
    targetStart: [...language, ...start.filter((id) => !isLanguage(id))],
    beams: typeof beams === 'number' && beams >= 1 ? Math.floor(beams) : 1,
    lengthPenalty: typeof lengthPenalty === 'number' ? lengthPenalty : 1,
    forbidden: forbiddenTokens(sources, setting),
  };
}

function languageToken(
  which: 'source' | 'target',
  language: string | undefined,
  idOf: PairSources['idOf'],
): number | undefined {
  if (language === undefined) return undefined;
  const id = idOf(language) ?? idOf(`__${language}__`);
  if (id !== undefined) return id;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The tokenizer has no token for the ${which} language ${JSON.stringify(language)}. Give the name it uses, such as __de__ or deu_Latn; models without languages take none.`,
  );
}

function forbiddenTokens(
  { config, boundary }: PairSources,
  setting: (name: string) => unknown,
): number[] {
  const words = setting('bad_words_ids');
  // Words of several tokens are another matter.
  const single = Array.isArray(words) ? words.filter((ids) => ids?.length === 1).flat() : [];
  const all = numbers(boundary.bos, config.pad_token_id, setting('suppress_tokens'), single);
  return [...new Set(all)].filter((id) => id !== boundary.eos);
}

/** Token ids among values that may be ids, lists of them, or nothing. */
const numbers = (...values: unknown[]): number[] =>
  values.flat().filter((id): id is number => Number.isInteger(id) && (id as number) >= 0);

interface Template {
  start: number[];
  end: number[];
}

/** What a post-processor puts around a single text. Undefined where there is none that puts anything. */
export function templateOf(postProcessor: unknown): Template | undefined {
  const part = (postProcessor ?? {}) as Record<string, unknown>;
  switch (part.type) {
    case 'Sequence':
      return (part.processors as unknown[]).map(templateOf).find((found) => found !== undefined);
    case 'TemplateProcessing':
      return templateProcessing(part);
    // Roberta's and Bert's have a token on either side, told as [text, id].
    case 'RobertaProcessing':
    case 'BertProcessing': {
      const id = (pair: unknown): number[] => numbers((pair as [string, number])?.[1]);
      return { start: id(part.cls), end: id(part.sep) };
    }
    default:
      return undefined;
  }
}

function templateProcessing({ single, special_tokens }: Record<string, unknown>): Template {
  const special = special_tokens as Record<string, { ids: number[] }>;
  const template: Template = { start: [], end: [] };
  let side = template.start;
  for (const piece of single as Record<string, { id: string }>[]) {
    if (piece.Sequence) side = template.end;
    else if (piece.SpecialToken) side.push(...(special[piece.SpecialToken.id]?.ids ?? []));
  }
  return template;
}
