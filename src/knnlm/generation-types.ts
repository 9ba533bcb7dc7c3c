/** Generating and translating: what is asked for, and what comes of it. Shapes and spaces as in `types.ts`. */
import type {
  Candidate,
  Neighbor,
  Progress,
  RetrievalRequest,
  UsedSettings,
  WithoutMemory,
} from './types.ts';

export interface SamplingOptions {
  /** 0 is greedy. Default 0. Higher is more random. Not `knn.temperature`. */
  temperature?: number;
  /** Keep the k most probable tokens. 0 keeps all. Default 0. */
  topK?: number;
  /** Keep the smallest set of tokens with this much probability. Default 1. */
  topP?: number;
  /** Drop tokens below this share of the most probable one's probability. Default 0. */
  minP?: number;
  /** Divides the score of tokens already seen (Keskar et al. 2019). 1 does nothing. Default 1. */
  repetitionPenalty?: number;
  /** Taken from the score of a token for every time it has been generated, as in OpenAI's API. Default 0. */
  frequencyPenalty?: number;
  /** Taken from the score of a token that has been generated at all. Default 0. */
  presencePenalty?: number;
  /** Added to the scores of tokens, by id. */
  logitBias?: Readonly<Record<number, number>>;
  /** Same seed, same text. Default: random. */
  seed?: number;
}

/** What tokens are made with, and what is told of each. */
export interface MemoryRequest {
  /** Settings of retrieval; what is missing is the store's own. */
  knn?: RetrievalRequest;
  /** Neighbors kept per token, 0 to k. Default 4. */
  neighbors?: number;
  /** Tokens of text kept around a neighbor. Default 16. */
  around?: number;
  /** Most probable candidates kept per token. Default 0. */
  candidates?: number;
  excludeDocuments?: readonly string[];
  signal?: AbortSignal;
}

export interface GenerateRequest extends SamplingOptions, MemoryRequest {
  /** Default 64. */
  maxTokens?: number;
  /** Stops before any of these strings; they are not part of the text. */
  stop?: readonly string[];
  /** Whether a token that ended the text is told too, last and with an empty text. Default false. */
  end?: boolean;
  /** Whether `Generation.tokens` has the tokens that were told. Default true; without it a long text takes no memory for them. */
  keepTokens?: boolean;
}

export interface GeneratedToken {
  id: number;
  /** Text that became certain with this token; may be empty inside a character. */
  text: string;
  /** Probability under the mixture, before sampling options. */
  p: number;
  pLm: number;
  pKnn: number;
  neighbors: Neighbor[];
  /** It ended the text. */
  end?: true;
  /** The index could not be searched: this is the model's own. */
  withoutMemory?: true;
  /** Most probable under the mixture first, when asked for. */
  candidates?: Candidate[];
}

export interface Generation {
  text: string;
  tokens: GeneratedToken[];
  finishReason: 'stop' | 'length';
  settings: UsedSettings;
  /** Share of tokens for which the index was asked. */
  searched: number;
  /** When the index failed and was gone on without (`onIndexFailure`). */
  withoutMemory?: WithoutMemory;
}

export interface TranslateRequest extends MemoryRequest {
  /** Hypotheses kept side by side; 1 is greedy. Default: what the model's own settings say, else 1. Slower and, up to some 5, better. */
  beams?: number;
  /** Exponent of the length that a hypothesis' log-probability is divided by: higher favors longer ones. Default: the model's own, else 1. */
  lengthPenalty?: number;
  /** Default: twice the source's and 32 more. */
  maxTokens?: number;
}

export interface EvaluateTranslationsRequest
  extends Omit<TranslateRequest, 'neighbors' | 'around' | 'candidates'> {
  onProgress?: (progress: Progress) => void;
}

export interface Translation {
  source: string;
  text: string;
  tokens: GeneratedToken[];
  /** Of the tokens and the end under the mixture, in nats. */
  logProb: number;
  /** logProb / length^lengthPenalty, by which hypotheses were compared. */
  score: number;
  finishReason: 'stop' | 'length';
  /** Beams used. */
  beams: number;
  settings: UsedSettings;
  /** When the index failed and was gone on without (`onIndexFailure`). */
  withoutMemory?: WithoutMemory;
}
