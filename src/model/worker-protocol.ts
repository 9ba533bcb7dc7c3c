/** What the main thread and a model worker say to each other. Everything crosses as structured clones; big arrays are transferred. */
import { type ErrorCode, KnnLMError } from '../errors.ts';
import type { Provider } from './device.ts';
import type { Inspection, InspectRequest } from './inspect-model.ts';
import type { ModelDtype, ScoredWindow } from './language-model.ts';
import type { FactsRequest, ModelFacts } from './model-facts.ts';
import type { SessionName } from './model-runtime.ts';

/** Everything a worker needs to run a model; sessions are made on first use. */
export interface RuntimePlan {
  /** Absolute path of the graph file. */
  path: string;
  keyTensor: string;
  /** The decoder that reads on from the cache, where it is another graph: of a merged export, or a file of its own. */
  onward: { path: string; cached: boolean; keyTensor: string } | undefined;
  /** The encoder's graph file; undefined for a causal model. */
  encoderPath: string | undefined;
  logitsTensor: string;
  /** d, or undefined when only running the graph tells. */
  keyDim: number | undefined;
  provider: Provider;
  /** onnxruntime threads. */
  threads: number;
  /** Cache shape for graphs that leave it symbolic. */
  keyValueHeads: number | undefined;
  headDim: number | undefined;
  /** Most that attention caches may take while decoding, in bytes. */
  cacheBytes: number;
  /** `ModelConfig.uniformLength`: within it the steps of texts of different lengths can share a run. */
  uniformLength: number | undefined;
  /** Of the probe that each session is checked with. */
  vocabSize: number;
  bos: number;
  /** Token of padding, which the probe must not hold: some models count positions without it. */
  pad: number | undefined;
  contextLength: number;
  dtype: ModelDtype;
}

export interface WindowsRequest {
  windows: readonly Int32Array[];
  sources?: readonly Int32Array[] | undefined;
}

/** Requests by name: what is sent and what comes back. */
export interface Requests {
  /** Looks at the folder's graphs without running any. */
  inspect: { request: InspectRequest; response: Inspection };
  /** What the JSON files and a graph say of the model, told without parsing tokenizer.json. */
  facts: { request: FactsRequest; response: ModelFacts };
  open: { request: RuntimePlan; response: undefined };
  /** How far the plan's provider is from the CPU: `compare-provider.ts`. */
  compareProvider: { request: RuntimePlan; response: number };
  /** Makes a session and checks it: `self-check.ts`. Otherwise done with its first request. */
  prepare: { request: SessionName; response: undefined };
  /** Windows of one batch, with their sources for an encoder-decoder; shorter ones are padded on the right inside. */
  keys: { request: WindowsRequest; response: Float32Array[] };
  score: {
    request: WindowsRequest & { targets: readonly Int32Array[] };
    response: ScoredWindow[];
  };
  /** Of an encoder-decoder with the source, which is encoded here and now. */
  startDecoding: { request: Int32Array | undefined; response: number };
  /** Memory for the states that a decoder reads from here on (`state-rooms.ts`), until it ends. */
  lend: {
    request: { decoder: number; buffers: readonly SharedArrayBuffer[] };
    response: undefined;
  };
  read: {
    request: { decoder: number; tokens: Int32Array };
    /** The number of the room that holds the state, where rooms were lent. */
    response: { key: Float32Array; logProbs: Float32Array } | { room: number };
  };
  readAll: {
    request: { decoder: number; tokens: Int32Array; wanted: 'all' | 'keys' };
    response: { keys: Float32Array; logProbs: Float32Array };
  };
  step: {
    request: { decoder: number; parents: readonly number[]; tokens: Int32Array };
    response: { keys: Float32Array; logProbs: Float32Array };
  };
  reset: { request: number; response: undefined };
  endDecoding: { request: number; response: undefined };
}
export type RequestName = keyof Requests;

export interface RequestMessage {
  id: number;
  name: RequestName;
  request: unknown;
}

export type ResponseMessage =
  | { id: number; response: unknown }
  | { id: number; error: SerializedError };

/** Errors lose their class and fields on the way between threads. */
export interface SerializedError {
  code: ErrorCode | undefined;
  message: string;
  stack: string | undefined;
}

export function serializeError(error: unknown): SerializedError {
  return {
    code: error instanceof KnnLMError ? error.code : undefined,
    message: error instanceof Error ? error.message : String(error),
    stack: error instanceof Error ? error.stack : undefined,
  };
}

export function deserializeError({ code, message, stack }: SerializedError): Error {
  const error = code ? new KnnLMError(code, message) : new Error(message);
  if (stack) error.stack = stack;
  return error;
}
