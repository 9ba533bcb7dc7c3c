/**
 * The tokens read before and predicted after every document.
 *
 * Start token (BOS): the first of
 *   1. `bos_token_id` of config.json, then of generation_config.json;
 *   2. `bos_token` of tokenizer_config.json, looked up in the vocabulary;
 *   3. the end token: models without BOS (GPT-2, Pythia, Qwen) saw the end of one document before the start of the next.
 * End token (EOS): the first of `eos_token_id` of config.json, then of generation_config.json, `eos_token` of
 * tokenizer_config.json, and the start token. Where an id is a list (Llama 3: end of text, end of turn), the first one ends a
 * document; all of them stop generation.
 *
 * The decoder of an encoder-decoder starts with `decoder_start_token_id` of config.json or generation_config.json, where one is named.
 */
import { KnnLMError } from '../errors.ts';

export interface BoundaryTokens {
  bos: number;
  eos: number;
  /** Tokens that end a generated text; `eos` is among them. */
  stopTokens: number[];
  /** Which rule gave each, for `describeModel`. */
  bosRule: string;
  eosRule: string;
}

/** Parsed files of the model folder, `{}` where a file is absent. */
export interface BoundarySources {
  config: Record<string, unknown>;
  generationConfig: Record<string, unknown>;
  tokenizerConfig: Record<string, unknown>;
  /** Id of a token's text. */
  idOf: (content: string) => number | undefined;
  /** The model is an encoder-decoder. Default false. */
  encoderDecoder?: boolean;
}

interface Found {
  ids: number[];
  rule: string;
}

export function findBoundaryTokens(sources: BoundarySources): BoundaryTokens {
  const start = (sources.encoderDecoder && decoderStart(sources)) || find('bos', sources);
  const end = find('eos', sources);
  if (start === undefined && end === undefined) {
    throw new KnnLMError(
      'MODEL_INVALID',
      'The model names neither a start nor an end token. Add "eos_token_id" to its config.json.',
    );
  }
  const bos = start ?? { ids: end!.ids, rule: 'no start token is named: the end token is read' };
  const eos = end ?? { ids: start!.ids, rule: 'no end token is named: the start token is used' };
  const generated = idsOf(sources.generationConfig.eos_token_id);
  return {
    bos: bos.ids[0]!,
    eos: eos.ids[0]!,
    stopTokens: [...new Set([...eos.ids, ...generated])],
    bosRule: bos.rule,
    eosRule: eos.rule,
  };
}

function decoderStart({ config, generationConfig }: BoundarySources): Found | undefined {
  const field = 'decoder_start_token_id';
  const [inConfig, inGeneration] = [idsOf(config[field]), idsOf(generationConfig[field])];
  if (inConfig.length > 0) return { ids: inConfig, rule: `${field} of config.json` };
  if (inGeneration.length === 0) return undefined;
  return { ids: inGeneration, rule: `${field} of generation_config.json` };
}

function find(which: 'bos' | 'eos', sources: BoundarySources): Found | undefined {
  const field = `${which}_token_id`;
  // Models that read more than text keep their language model's settings one level down.
  const nested = sources.config.text_config as Record<string, unknown> | undefined;
  const places: [Record<string, unknown> | undefined, string][] = [
    [sources.config, 'config.json'],
    [nested, 'text_config of config.json'],
    [sources.generationConfig, 'generation_config.json'],
  ];
  for (const [place, name] of places) {
    const ids = idsOf(place?.[field]);
    if (ids.length > 0) {
      const list = ids.length > 1 ? `, first of [${ids.join(', ')}]` : '';
      return { ids, rule: `${field} of ${name}${list}` };
    }
  }
  const token = sources.tokenizerConfig[`${which}_token`];
  const content = typeof token === 'string' ? token : (token as { content?: string })?.content;
  const id = content === undefined ? undefined : sources.idOf(content);
  return id === undefined
    ? undefined
    : { ids: [id], rule: `${which}_token of tokenizer_config.json` };
}

function idsOf(value: unknown): number[] {
  const list = Array.isArray(value) ? value : [value];
  return list.filter((id): id is number => Number.isInteger(id) && (id as number) >= 0);
}
