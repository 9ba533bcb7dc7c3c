/**
 * What goes over the wire, as plain JSON: the OpenAI types where OpenAI has them, the /v1/knn family beside them.
 * Types only and nothing imported, so that a page can use them too. Names are snake_case as in OpenAI's API.
 * Shapes: k neighbors, T tokens. Log-probabilities are natural; JSON has no -Infinity, so `null` stands for it except
 * in OpenAI's own fields, where it is -9999 as there.
 */

/** Every refusal, as OpenAI writes it. */
export interface ErrorReply {
  error: {
    /** One line: what was wrong, the value seen, what to do next. */
    message: string;
    type:
      | 'invalid_request_error'
      | 'authentication_error'
      | 'not_found_error'
      | 'conflict_error'
      | 'rate_limit_error'
      | 'overloaded_error'
      | 'server_error';
    /** The field that was wrong, when one was. */
    param: string | null;
    code: string | null;
  };
}

// ---------------------------------------------------------------------------------------------------- settings

/** Settings of retrieval; what is missing is the store's own. */
export interface RetrievalFields {
  /** Neighbors per query. */
  k?: number;
  /** Weight of the neighbors, 0 to 1: 0 is the model alone. */
  lambda?: number;
  /** Softmax temperature over negative squared distances. */
  temperature?: number;
  /** Whether the store's gate weighs the neighbors. Default: when none of the three above is given. */
  gate?: boolean;
  /** Names of stores to retrieve from. Default: all that are served. */
  stores?: string[];
  /** Ids of documents that must not be retrieved. */
  exclude_documents?: string[];
}

/** The field `knn` of a completion request. */
export interface KnnFields extends RetrievalFields {
  /** Neighbors told per token; `true` is 4, `false` none. Default 0; the probabilities are told all the same. */
  include_neighbors?: boolean | number;
  /** Tokens of text told around a neighbor. Default 16. */
  around?: number;
}

/** Settings as they were used. */
export interface UsedSettings {
  k: number;
  lambda: number;
  temperature: number;
  /** A gate took the place of lambda and temperature. */
  gate: boolean;
}

/** The numbers of a gate (`src/knnlm/gate.ts`). Shapes: J temperatures, F features. */
export interface GateParameters {
  temperatures: number[];
  ranks: number[];
  means: number[];
  deviations: number[];
  /** (J + 1, F + 1) the model's row first, then one per temperature. */
  weights: number[][];
}

export interface StoreSettings {
  k: number;
  lambda: number;
  temperature: number;
  source: 'default' | 'given' | 'self-tuned' | 'tuned';
  gate: GateParameters | null;
  /** What they were tuned on and what was measured, as the store keeps it; null when nothing was. */
  evidence: Record<string, unknown> | null;
}

// ---------------------------------------------------------------------------------------------------- information

/** GET /v1/knn/info */
export interface InfoReply {
  version: string;
  model: {
    /** The id under `model` in /v1/models. */
    name: string;
    family: string;
    file: string;
    dtype: string;
    key: string | null;
    key_tensor: string;
    /** d */
    key_dim: number;
    /** V */
    vocab_size: number;
    layers: number;
    context_length: number;
    bos: number;
    eos: number;
    /** Whether it has a chat template. */
    chat: boolean;
  };
  stores: StoreReply[];
  limits: {
    /** Requests that generate or score at the same time; the others wait in a queue. */
    concurrency: number;
    /** Requests that may wait. */
    queue: number;
    body_bytes: number;
    prompt_tokens: number;
    max_tokens: number;
  };
  /** Whether documents may be added and removed here. */
  writable: boolean;
}

export interface StoreReply {
  /** What `stores` in a request and `store` in a query call it. */
  name: string;
  documents: number;
  entries: number;
  /** Removed entries still on disk. */
  deleted: number;
  key_dim: number;
  key_dtype: string;
  window: number;
  stride: number;
  /** On disk. */
  bytes: {
    keys: number;
    values: number;
    documents: number;
    checksums: number;
    manifest: number;
    index: number;
    total: number;
  };
  bytes_per_entry: number;
  index: {
    /** `flat` is exact search; another is an approximate index. */
    kind: string;
    indexed: number | null;
    lists: number | null;
    probes: number | null;
    /** As measured when it was built: share of the true neighbors found, and mean |Δ log p| of the mixture in nats. */
    recall: number | null;
    error: number | null;
  };
  settings: StoreSettings;
  complete: boolean;
}

/** GET /v1/knn/statistics */
export interface StatisticsReply {
  uptime_seconds: number;
  requests: { total: number; active: number; waiting: number; rejected: number; failed: number };
  tokens: { prompt: number; generated: number; scored: number };
  search: { queries: number; milliseconds: number };
  /** What documents contributed to the tokens generated and scored lately, most first. */
  contributions: Contribution[];
  /** Tokens that `contributions` speaks of. */
  recent_tokens: number;
}

export interface Contribution {
  document: string;
  store: string;
  /** Tokens for which one of its contexts voted. */
  tokens: number;
  /** Sum over those tokens of its share of the probability of the token chosen. */
  share: number;
}

// ---------------------------------------------------------------------------------------------------- documents

export interface DocumentReply {
  id: string;
  store: string;
  source: string;
  /** Tokens and the end: what it takes in the store. */
  entries: number;
  metadata: Record<string, unknown> | null;
  /** Lately, as in statistics. */
  contribution: { tokens: number; share: number };
}

/** GET /v1/knn/documents?query&store&offset&limit: `query` is a part of the id or source, any case. */
export interface DocumentsReply {
  documents: DocumentReply[];
  /** That match in all. */
  total: number;
  offset: number;
}

/** GET /v1/knn/documents/{id}?store&position&around or &from&limit */
export interface DocumentTextReply {
  document: DocumentReply;
  /** Token position of the first piece. */
  from: number;
  /** (T) the text by tokens; joined they are the text. The end-of-text entry is an empty string. */
  pieces: string[];
  /** (T) */
  token_ids: number[];
  /** Positions in the whole document. */
  total: number;
}

/** POST /v1/knn/documents */
export interface AddDocumentRequest {
  id: string;
  text: string;
  metadata?: Record<string, unknown>;
  /** Name of the store. Needed when several are served. */
  store?: string;
  /** Whether a document of the same id is replaced. Default false: that is an error. */
  replace?: boolean;
  /** Progress as server-sent events: `AddDocumentEvent`, one per `data:` line, then `data: [DONE]`. */
  stream?: boolean;
}

export type AddDocumentEvent =
  | {
      type: 'progress';
      phase: string;
      done: number;
      total: number | null;
      unit: string;
      entries: number | null;
    }
  | ({ type: 'added' } & AddedReply)
  | ({ type: 'error' } & ErrorReply);

export interface AddedReply {
  id: string;
  store: string;
  /** Of this document. 0 when an equal text was stored already. */
  entries: number;
  replaced: boolean;
  seconds: number;
  /** The store afterwards. */
  stored: { documents: number; entries: number; bytes: number };
}

/** DELETE /v1/knn/documents/{id}?store */
export interface RemovedReply {
  id: string;
  store: string;
  entries: number;
  seconds: number;
}

// ---------------------------------------------------------------------------------------------------- search

/** POST /v1/knn/search: the next token after a context. One of `context` and `token_ids`. */
export interface SearchRequest extends RetrievalFields {
  context?: string;
  /** Without the start token. */
  token_ids?: number[];
  /** Neighbors told with their text. Default 10. */
  show?: number;
  /** Tokens of text around each. Default 16. */
  around?: number;
  /** Adds `raw`. */
  raw?: boolean;
}

export interface Neighbor {
  entry: number;
  store: string;
  document: string;
  /** Which of the document's targets this is, from 0. */
  position: number;
  /** Squared L2. */
  distance: number;
  /** Share of the vote; those of all k sum to 1. */
  weight: number;
  target: string;
  target_id: number;
  before: string;
  after: string;
}

export interface Candidate {
  id: number;
  text: string;
  /** Under the mixture. */
  p: number;
  p_lm: number;
  p_knn: number;
}

export interface SearchReply {
  /** The context as it was read, by tokens: joined they are the text. */
  context: { token_ids: number[]; pieces: string[] };
  /** Nearest first. */
  neighbors: Neighbor[];
  /** Most probable under the mixture first. */
  candidates: Candidate[];
  settings: UsedSettings;
  raw?: RawNeighbors;
  milliseconds: { model: number; search: number };
}

/**
 * All that is needed to mix again elsewhere. With weights w_i = softmax(-distances_i / T) over the first k,
 * p_kNN(y) = Σ w_i [targets_i = y] and p(y) = λ p_kNN(y) + (1 - λ) p_LM(y).
 */
export interface RawNeighbors {
  /** (k) entry ids, nearest first. */
  entries: number[];
  /** (k) squared L2. */
  distances: number[];
  /** (k) token ids that followed. */
  targets: number[];
  /** (k) indexes into `document_ids`. */
  documents: number[];
  /** (k) which of the document's targets. */
  positions: number[];
  document_ids: string[];
  /** Store of each of `document_ids`. */
  document_stores: string[];
  /** The model's 50 most probable tokens and every target, with log p_LM. Most probable first. */
  candidates: { id: number; text: string; log_p_lm: number }[];
  /** The gate's mixture for this query, when the store has a gate: weight of the model, and one per temperature of `p_knn`. */
  gate: { lm: number; temperatures: number[]; weights: number[] } | null;
}

// ---------------------------------------------------------------------------------------------------- scoring

/** POST /v1/knn/score: a text under the model and under the mixture, as `knnlm eval` scores a document. */
export interface ScoreRequest extends RetrievalFields {
  text: string;
  /** Neighbors told per token, nearest supporters first. Default 1. */
  neighbors?: number;
  /** `ScoreEvent`s, one per `data:` line, then `data: [DONE]`. */
  stream?: boolean;
}

export interface ScoredToken {
  id: number;
  /** Joined they are the text; empty for the end of text, which is the last. */
  text: string;
  log_p: number;
  log_p_lm: number;
  /** null: no neighbor voted for it. */
  log_p_knn: number | null;
  /** The nearest that voted for it, else the nearest. */
  neighbors: {
    store: string;
    document: string;
    position: number;
    distance: number;
    weight: number;
    /** Whether it voted for this token. */
    agrees: boolean;
  }[];
}

export interface TextScore {
  /** Nats, summed. */
  nll: number;
  perplexity: number;
  word_perplexity: number;
  bits_per_byte: number;
}

export interface ScoreSummary {
  tokens: number;
  bytes: number;
  words: number;
  lm: TextScore;
  knnlm: TextScore;
  /** Shares of targets to which the mixture gives more, less probability than the model. */
  helped: number;
  hurt: number;
  settings: UsedSettings;
  seconds: number;
}

export interface ScoreReply extends ScoreSummary {
  scored: ScoredToken[];
}

export type ScoreEvent =
  | { type: 'start'; tokens: number; settings: UsedSettings }
  | { type: 'tokens'; from: number; scored: ScoredToken[] }
  | ({ type: 'summary' } & ScoreSummary)
  | ({ type: 'error' } & ErrorReply);

// ---------------------------------------------------------------------------------------------------- map

/** GET /v1/knn/map?store&sample: keys of sampled entries on the plane of their first two principal components. */
export interface MapReply {
  store: string;
  /** (m) */
  x: number[];
  y: number[];
  entries: number[];
  /** (m) text of the stored next token. */
  targets: string[];
  target_ids: number[];
  /** (m) indexes into `document_ids`. */
  documents: number[];
  positions: number[];
  document_ids: string[];
  /** Share of the sample's variance on each axis. */
  variance: [number, number];
}

/** POST /v1/knn/map/project */
export interface ProjectRequest {
  context?: string;
  token_ids?: number[];
  store?: string;
  sample?: number;
}
export interface ProjectReply {
  x: number;
  y: number;
}

// ---------------------------------------------------------------------------------------------------- completions

/** POST /v1/completions */
export interface CompletionRequest {
  model?: string;
  prompt: string | string[] | number[] | number[][];
  max_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  n?: number | null;
  best_of?: number | null;
  stop?: string | string[] | null;
  seed?: number | null;
  logprobs?: number | null;
  echo?: boolean | null;
  logit_bias?: Record<string, number> | null;
  presence_penalty?: number | null;
  frequency_penalty?: number | null;
  stream?: boolean | null;
  stream_options?: { include_usage?: boolean } | null;
  /** Accepted when null; text after the completion is not supported. */
  suffix?: string | null;
  user?: string | null;
  /** Not OpenAI's: of the k most probable tokens only; 0 takes all. */
  top_k?: number | null;
  min_p?: number | null;
  repetition_penalty?: number | null;
  knn?: KnnFields | null;
}

export interface CompletionReply {
  id: string;
  object: 'text_completion';
  /** Unix seconds. */
  created: number;
  model: string;
  system_fingerprint: string;
  choices: CompletionChoice[];
  /** In a stream null until the last, and only when asked for. */
  usage?: Usage | null;
}

export interface CompletionChoice {
  index: number;
  text: string;
  logprobs: CompletionLogprobs | null;
  /** null in a stream until the last. */
  finish_reason: 'stop' | 'length' | null;
  /** Asked for with `knn`. */
  knn?: KnnChoice;
}

/** (T) each; with `echo` the prompt's tokens come first, the very first with null. */
export interface CompletionLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[];
  text_offset: number[];
}

export interface KnnChoice {
  tokens: KnnToken[];
  /** In a stream with the first chunk only. */
  settings?: UsedSettings;
}

export interface KnnToken extends Candidate {
  /** Candidates beside it, most probable first: as many as `logprobs` asks for. */
  candidates?: Candidate[];
  /** Nearest first. */
  neighbors?: Neighbor[];
  /** It was part of the prompt (`echo`). */
  prompt?: true;
}

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

// ---------------------------------------------------------------------------------------------------- chat

/** POST /v1/chat/completions */
export interface ChatMessage {
  role: 'system' | 'developer' | 'user' | 'assistant';
  content: string | { type: 'text'; text: string }[];
  name?: string;
}

export interface ChatRequest
  extends Omit<CompletionRequest, 'prompt' | 'echo' | 'best_of' | 'logprobs' | 'suffix'> {
  messages: ChatMessage[];
  max_completion_tokens?: number | null;
  logprobs?: boolean | null;
  top_logprobs?: number | null;
}

export interface ChatTokenLogprob {
  token: string;
  logprob: number;
  bytes: number[] | null;
}

export interface ChatLogprobs {
  content: (ChatTokenLogprob & { top_logprobs: ChatTokenLogprob[] })[];
  refusal: null;
}

export interface ChatReply {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  system_fingerprint: string;
  choices: {
    index: number;
    message: { role: 'assistant'; content: string; refusal: null };
    logprobs: ChatLogprobs | null;
    finish_reason: 'stop' | 'length';
    knn?: KnnChoice;
  }[];
  usage: Usage;
}

export interface ChatChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  system_fingerprint: string;
  choices: {
    index: number;
    delta: { role?: 'assistant'; content?: string };
    logprobs: ChatLogprobs | null;
    finish_reason: 'stop' | 'length' | null;
    knn?: KnnChoice;
  }[];
  usage?: Usage | null;
}

// ---------------------------------------------------------------------------------------------------- the rest

/** GET /v1/models */
export interface ModelsReply {
  object: 'list';
  data: { id: string; object: 'model'; created: number; owned_by: string }[];
}

/** POST /tokenize */
export interface TokenizeRequest {
  prompt: string;
  add_special_tokens?: boolean;
}
export interface TokenizeReply {
  tokens: number[];
  count: number;
}

/** POST /detokenize */
export interface DetokenizeRequest {
  tokens: number[];
}
export interface DetokenizeReply {
  prompt: string;
}

/** GET /tokenizer_info, as lm-evaluation-harness asks for it. */
export interface TokenizerInfoReply {
  bos_token: string;
  eos_token: string;
  pad_token: string;
  bos_token_id: number;
  eos_token_id: number;
  vocab_size: number;
  model_max_length: number;
  chat_template: string | null;
}

/** GET /health */
export interface HealthReply {
  status: 'ok' | 'stopping';
}
