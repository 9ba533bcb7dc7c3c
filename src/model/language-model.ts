/**
 * What the rest of the house knows of a model: text → tokens → keys and log-probabilities.
 * Shapes: T tokens, d key width, V vocabulary.
 */
import type { ChatMessage } from './chat-template.ts';
import type { Device } from './device.ts';
import type { PairOptions, PairReading } from './pair-reading.ts';
import type { Tokenizer } from './tokenizer.ts';

/** The six key positions of Table 5 in Khandelwal et al. (2020), all in the last block. */
export const KEY_NAMES = [
  'ffn-input',
  'ffn-input-before-norm',
  'attention-input',
  'attention-input-before-norm',
  'output',
  'output-before-norm',
] as const;
export type KeyName = (typeof KEY_NAMES)[number];

export type ModelDtype = 'fp32' | 'fp16' | 'q4' | 'q4f16' | 'bnb4' | 'int8';

/** Two models with equal fingerprints give the same keys. */
export interface ModelFingerprint {
  /** sha256 over the graph file and its external data (`model/fingerprint.ts` says which bytes). */
  weights: string;
  /** sha256 of tokenizer.json and of the BOS and EOS rules. */
  tokenizer: string;
  dtype: ModelDtype;
  keyTensor: string;
  /** Execution provider: `cpu`, `webgpu`, … Others' keys are compared with the CPU's before use. */
  provider: string;
}

export interface ModelInfo {
  /** As the user named it: a folder, a hub id or a bundled model's name. */
  name: string;
  folder: string;
  /** Graph file, relative to the folder, such as `onnx/model.onnx`. */
  file: string;
  /** `model_type` of config.json: llama, gpt2, … */
  family: string;
  dtype: ModelDtype;
  /** V */
  vocabSize: number;
  /** d */
  keyDim: number;
  layers: number;
  /** Most positions the model can read at once. */
  contextLength: number;
  /** Which key is stored; undefined when the user named a tensor of his own. */
  key: KeyName | undefined;
  keyTensor: string;
  /** Token read before every document. */
  bos: number;
  /** Token predicted after every document. */
  eos: number;
  /** Tokens that end a generated text; `eos` is among them. */
  stopTokens: readonly number[];
  /** Of an encoder-decoder: how it reads a source and its target. A causal model has none. */
  pairs?: PairReading;
  fingerprint: ModelFingerprint;
}

/** One window after a full pass. */
export interface ScoredWindow {
  /** (T, d) key of each position. */
  keys: Float32Array;
  /** (T) natural-log probability of each position's target. */
  logProbs: Float32Array;
  /** (T) of each position's most probable token. */
  best: Float32Array;
}

/** The state after the last token read. */
export interface NextToken {
  /** (d) key of the last position: the query. */
  key: Float32Array;
  /** (V) natural-log probabilities of the next token. */
  logProbs: Float32Array;
}

/** The states after each of T tokens. */
export interface ReadStates {
  /** (T, d) */
  keys: Float32Array;
  /** (T, V) natural-log probabilities of the token that follows. */
  logProbs: Float32Array;
}

/** KV-cached reading, one sequence. Gives the keys and probabilities of a full pass over the same tokens (to rounding). */
export interface Decoder {
  /** Tokens read since the last reset. */
  readonly position: number;
  /** Reads one or more tokens. Errors: `INVALID_ARGUMENT` when the context length would be passed. */
  read(tokens: ArrayLike<number>): Promise<NextToken>;
  /**
   * Reads one or more tokens and gives the state after each of them. Errors: as `read`.
   * @returns keys (T, d) and natural-log probabilities (T, V): four bytes a number, so give it few tokens at a time
   */
  readAll(tokens: ArrayLike<number>): Promise<ReadStates>;
  /**
   * As `readAll`, with probabilities after the last token alone, which costs what `read` costs.
   * @returns keys (T, d) and natural-log probabilities (1, V)
   */
  readKeys(tokens: ArrayLike<number>): Promise<ReadStates>;
  /**
   * Goes on with several texts side by side, as the beams of a search do; each has read as many tokens as the others.
   * @param parents (B) which of the texts before each continues; 0 alone after `read`
   * @param tokens (B) the next token of each
   * @returns keys (B, d) and natural-log probabilities (B, V). Errors: as `read`.
   */
  step(parents: readonly number[], tokens: ArrayLike<number>): Promise<ReadStates>;
  /** Forgets everything read, but not the source. */
  reset(): void;
  close(): Promise<void>;
}

export interface LanguageModel {
  readonly info: ModelInfo;
  readonly tokenizer: Tokenizer;
  /**
   * Keys of whole windows, by the truncated graph: nothing behind the key is computed.
   * Windows are batched by length inside; the result is in the order given and does not depend on batch mates (to rounding).
   * @param windows token ids, 1 to contextLength each
   * @returns one (T, d) array per window
   */
  keys(windows: readonly Int32Array[], options?: ReadOptions): Promise<Float32Array[]>;
  /** Keys and log-probabilities of the given targets, one target per position. */
  score(
    windows: readonly Int32Array[],
    targets: readonly Int32Array[],
    options?: ReadOptions,
  ): Promise<ScoredWindow[]>;
  /** `tokenizer.encode` of whole documents in a worker thread: the calling thread stays free. */
  encodeDocuments(texts: readonly string[]): Promise<Int32Array[]>;
  /** Of a model made for chat, as its author wrote it. */
  readonly chatTemplate: string | undefined;
  /**
   * Messages up to where the assistant speaks, by the model's chat template, without the token before every document.
   * Special tokens written out in a message are read as plain text: no message can end its turn.
   * Errors: `INVALID_ARGUMENT` without a template, or for messages that it refuses.
   */
  encodeChat(messages: readonly ChatMessage[]): Promise<Int32Array>;
  /** Sources as the encoder reads them, with what stands around them. Errors: `INVALID_ARGUMENT` for a causal model. */
  encodeSources(texts: readonly string[]): Promise<Int32Array[]>;
  /** @param source what an encoder-decoder's texts are made from; it is read once */
  startDecoding(source?: Int32Array, options?: DecodingOptions): Promise<Decoder>;
  /** Ends the worker threads. What is under way fails with `ABORTED`. */
  close(): Promise<void>;
}

export interface DecodingOptions {
  /**
   * States are handed over in memory that is used again: what `read` gave is valid until the next read but one is asked for, or the decoder is closed. Spares
   * the collector an array per token. Default false.
   */
  reuse?: boolean;
}

export interface ReadOptions {
  /** Of an encoder-decoder: one source per window, 1 to contextLength tokens each (`encodeSources`). */
  sources?: readonly Int32Array[] | undefined;
  /** Stops handing out windows; those in a worker finish unseen. */
  signal?: AbortSignal;
}

export interface LoadModelOptions {
  /** Which key to expose. Default `ffn-input`. */
  key?: KeyName;
  /** A graph tensor's name, instead of `key`: for graphs the locator cannot read. */
  keyTensor?: string;
  /** Which of the folder's graphs to run. Default: the first present of fp32, fp16, q4, q4f16. */
  dtype?: ModelDtype;
  /** Worker threads, each with a copy of the weights. Default: one per two cores, as far as 1 GiB of weights allows. */
  workers?: number;
  /** onnxruntime threads per worker. Default: the cores, divided among the workers. */
  threads?: number;
  /**
   * Bytes that the attention caches of all texts being decoded may take. When it is used up, texts wait for one another, and
   * what has been idle for a second is dropped and read again later. One text may always be read. Default 1 GiB, a quarter of the
   * machine's memory at most.
   */
  cacheBytes?: number;
  /**
   * Where the model runs. Anything but `cpu` is used where it is present and gives the CPU's keys on a probe text; otherwise
   * the CPU is, and `onWarning` says why. `auto` tries what the platform may have. Default `cpu`.
   */
  device?: Device;
  /** What an encoder-decoder must be told of the texts. */
  pairs?: PairOptions | undefined;
  onWarning?: (message: string) => void;
  /** Download progress of a hub id. */
  onDownload?: (progress: DownloadProgress) => void;
  signal?: AbortSignal;
}

export interface DownloadProgress {
  file: string;
  receivedBytes: number;
  totalBytes: number;
}
