/** What config.json says of a model's shape, under the names the families give it. */
import { KnnLMError } from '../errors.ts';

export interface ModelConfig {
  /** `model_type`: llama, gpt2, … */
  family: string;
  isEncoderDecoder: boolean;
  /** d; undefined when config.json does not say. */
  hiddenSize: number | undefined;
  layers: number | undefined;
  vocabSize: number | undefined;
  /** Most positions the model can read at once. */
  contextLength: number;
  /** Whether config.json gives the context length, or it is a guess. */
  contextLengthKnown: boolean;
  /** Shape of the KV cache, for graphs that leave it symbolic. */
  keyValueHeads: number | undefined;
  headDim: number | undefined;
  padToken: number | undefined;
  /**
   * Positions up to which every token sees all before it, and a position is coded alike however long the text; undefined where
   * that never ends.
   */
  uniformLength: number | undefined;
}

/** Used when nothing says how far a model's positions reach (ALiBi models). */
const DEFAULT_CONTEXT_LENGTH = 1024;
/** `model_max_length` of tokenizers that do not know is 10^30. */
const LARGEST_CONTEXT_LENGTH = 1e8;

export function readModelConfig(
  config: Record<string, unknown>,
  tokenizerConfig: Record<string, unknown> = {},
): ModelConfig {
  // Models that read more than text keep their language model's settings one level down.
  const nested = (config.text_config ?? {}) as Record<string, unknown>;
  const first = (...names: string[]): number | undefined => {
    for (const name of names) {
      const value = config[name] ?? nested[name];
      if (Number.isInteger(value) && (value as number) > 0) return value as number;
    }
    return undefined;
  };
  const family = config.model_type ?? nested.model_type;
  if (typeof family !== 'string') {
    throw new KnnLMError(
      'MODEL_INVALID',
      'config.json has no "model_type". Use the config.json that belongs to the model.',
    );
  }
  const hiddenSize = first('hidden_size', 'n_embd', 'd_model');
  const heads = first('decoder_attention_heads', 'num_attention_heads', 'n_head', 'num_heads');
  const positions = first('max_position_embeddings', 'n_positions', 'n_ctx', 'seq_length');
  const declared = tokenizerConfig.model_max_length;
  const limit =
    typeof declared === 'number' && declared > 0 && declared < LARGEST_CONTEXT_LENGTH
      ? declared
      : undefined;
  return {
    family,
    isEncoderDecoder: config.is_encoder_decoder === true,
    hiddenSize,
    layers: first(
      'decoder_layers',
      'num_decoder_layers',
      'num_hidden_layers',
      'n_layer',
      'num_layers',
    ),
    vocabSize: first('vocab_size'),
    contextLength: positions ?? limit ?? DEFAULT_CONTEXT_LENGTH,
    contextLengthKnown: (positions ?? limit) !== undefined,
    keyValueHeads: first('num_key_value_heads') ?? heads,
    headDim: first('head_dim', 'd_kv') ?? (hiddenSize && heads ? hiddenSize / heads : undefined),
    uniformLength: uniformLength({ ...nested, ...config }),
    padToken: typeof config.pad_token_id === 'number' ? config.pad_token_id : undefined,
  };
}

/** Names of windows of attention, and of chunks. */
const WINDOWS = ['sliding_window', 'window_size', 'attention_window_size', 'attention_chunk_size'];
/** Kinds of rotary positions whose frequencies depend on the length. */
const BY_LENGTH = new Set(['dynamic', 'longrope', 'su']);

function uniformLength(config: Record<string, unknown>): number | undefined {
  const lengths = config.use_sliding_window === false ? [] : WINDOWS.map((name) => config[name]);
  for (const rope of ropesOf(config.rope_scaling ?? config.rope_parameters)) {
    if (!BY_LENGTH.has(String(rope.rope_type ?? rope.type))) continue;
    const name = 'original_max_position_embeddings';
    lengths.push(rope[name] ?? config[name] ?? config.max_position_embeddings);
  }
  const known = lengths.filter((length) => typeof length === 'number' && length > 0) as number[];
  return known.length > 0 ? Math.min(...known) : undefined;
}

/** One for all layers, or one for each kind of them. */
function ropesOf(value: unknown): Record<string, unknown>[] {
  if (typeof value !== 'object' || value === null) return [];
  const own = value as Record<string, unknown>;
  return [
    own,
    ...Object.values(own).filter((one) => typeof one === 'object' && one !== null),
  ] as Record<string, unknown>[];
}
