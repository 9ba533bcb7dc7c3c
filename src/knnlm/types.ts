/** What the method gives and takes. Shapes: T tokens, k neighbors, V vocabulary. Probabilities stay in log space. */

import type { DocumentSelection } from '../datastore/select-documents.ts';
import type {
  CacheSettings,
  DocumentRecord,
  GateParameters,
  RetrievalSettings,
  SkipParameters,
} from '../datastore/types.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Breakdown } from './breakdown.ts';
import type { Semantics } from './reference-semantics.ts';
import type { ReportedToken } from './token-report.ts';

/** A stored context that was near the query, with the way back to its document. */
export interface Neighbor {
  /** Entry id, counted through all open datastores. */
  entry: number;
  /** Name of the datastore, when several are open. */
  store?: string;
  /** Id of the document. */
  document: string;
  /** Which of the document's targets this is, from 0. */
  position: number;
  /** Squared L2 distance between key and query. */
  distance: number;
  /** Share of the vote, softmax of -distance / temperature; the weights of a query's k neighbors sum to 1. */
  weight: number;
  /** Text of the stored next token. */
  target: string;
  /** Token id of the stored next token. */
  targetId: number;
  /** Text read before the target. */
  before: string;
  /** Text after the target. */
  after: string;
  /** Of a pair: the source that the document is the target of. */
  sourceText?: string;
}

export interface SearchResult {
  /** The context as it was read. */
  query: string;
  /** Nearest first. */
  neighbors: Neighbor[];
  /** The next token's most probable candidates under the mixture. */
  candidates: Candidate[];
  settings: UsedSettings;
}

export interface Candidate {
  text: string;
  id: number;
  /** Probability under the mixture. */
  p: number;
  pLm: number;
  pKnn: number;
}

/** Settings of a request; what is missing is the store's own. */
export interface RetrievalRequest extends Partial<RetrievalSettings> {
  /** Whether the store's gate, if it has one, weighs the neighbors. Default: when k, lambda and temperature are all the store's own. */
  gate?: boolean;
  /**
   * Whether the text read so far is remembered as a small store of its own (Grave et al. 2017), and with which weight and
   * temperature where no gate weighs it: those it was tuned to, or 0.1 and `temperature`. Default: as the store was
   * tuned, where its own settings hold; else not.
   */
  cache?: boolean | Partial<CacheSettings>;
  /**
   * Whether neighbors that voted for the token that came point at what followed them, as further neighbors of the next
   * (Alon et al. 2022). Default: as the store was tuned, where its own settings hold; else not.
   */
  pointers?: boolean;
  /**
   * Ask the index only where fewer than so many pointers are left, each counted once for every search that found it. Follows
   * pointers. Default: ask it always.
   */
  minPointers?: number;
  /**
   * What share of the searches is skipped, about, from 0 to 1: those of which what the store learned in tuning expects least.
   * Follows pointers. `true` is the store's own share, or half. Default: the store's own, where its settings hold; else none.
   */
  adaptive?: boolean | number;
  /**
   * Of the lists that an inverted file usually reads, what share a search reads: with fewer it is quicker and misses some of the
   * neighbors, with more it is nearer to exact search. Above 0; of no effect on entries that are searched exactly or by
   * a server. Default: what the store was tuned with, or 1.
   */
  effort?: number;
  /**
   * Whose arithmetic a text is scored with: ours, or that of one of the codes that published numbers come from, to hold scores
   * against theirs (`reference-semantics.ts`). For λ, T and k as they are given, without a gate. Default `exact`.
   */
  semantics?: Semantics;
  /** Names of the open datastores to read; the first one's settings hold. Default: all of them. */
  stores?: readonly string[];
  /**
   * A λ for each datastore by name, in place of one: p = Σ λ_s p_kNN,s + (1 − Σ λ_s) p_LM, with the k nearest entries of
   * each. Together 1 at most. Default: one λ, or the gate, over the k nearest of all.
   */
  lambdas?: Readonly<Record<string, number>>;
  /** Retrieve from these documents alone. Default: from all. */
  documents?: DocumentSelection;
  /**
   * What becomes of a request when the index is on another machine that does not answer. `error`: it fails. `lm`: it goes
   * on without neighbors for as long, and the result says so. Generation and evaluation heed it. Default `error`.
   */
  onIndexFailure?: 'error' | 'lm';
}

/** Tokens that the model alone had to give, since the index could not be searched. */
export interface WithoutMemory {
  tokens: number;
  /** Of the last time. */
  reason: string;
}

/** The λ of one datastore among several. */
export interface StoreLambda {
  name: string;
  lambda: number;
  /** Its entries. */
  range: IdRange;
}

/** Settings as they are used. */
export interface ResolvedSettings extends RetrievalSettings {
  /** Takes the place of lambda and temperature. */
  gate?: GateParameters;
  /** The text so far is remembered; the numbers hold where no gate weighs it. */
  cache?: CacheSettings;
  pointers?: true;
  minPointers?: number;
  /** Searches that promise little are skipped: about this share, those that are expected to gain less than the threshold. */
  skip?: { share: number; threshold: number; parameters: SkipParameters };
  /** Where it is not 1. */
  effort?: number;
  semantics?: Semantics;
  /** Datastores read, when several are open. */
  stores?: string[];
  /** One per datastore; `lambda` is their sum. */
  lambdas?: StoreLambda[];
  /** The model alone answers when the index cannot. */
  onIndexFailure?: 'lm' | undefined;
}

/** Settings as a result tells them. */
export interface UsedSettings extends RetrievalSettings {
  /** A gate took the place of lambda and temperature. */
  gate?: true;
  /** The text so far was remembered; a gate took the place of these two as well. */
  cache?: CacheSettings;
  /** Neighbors were followed from token to token. */
  pointers?: true;
  /** The index was asked only where fewer pointers were left. */
  minPointers?: number;
  /** About this share of the searches was to be skipped, those that promised least. */
  adaptive?: number;
  /** So many times the usual lists of an inverted file were read. */
  effort?: number;
  /** The arithmetic of another code was used. */
  semantics?: Semantics;
  /** Names of the datastores read, when several are open. */
  stores?: string[];
  /** λ by datastore, when each had its own; `lambda` is their sum. */
  lambdas?: Record<string, number>;
}

export interface SearchRequest extends RetrievalRequest {
  /** Neighbors shown, at most k (of each store, when each has its own λ). Default 10. */
  show?: number;
  /** Tokens of text shown before and after. Default 16. */
  around?: number;
  /** Document ids that must not be retrieved. */
  excludeDocuments?: readonly string[];
  signal?: AbortSignal;
}

/** Sums over a text's targets under one distribution. */
export interface TextScore {
  /** Negative log-likelihood in nats, summed over the targets. */
  nll: number;
  /** exp(nll / tokens) */
  perplexity: number;
  /** exp(nll / words) */
  wordPerplexity: number;
  /** nll / ln 2 / bytes */
  bitsPerByte: number;
}

export interface Evaluation {
  documents: number;
  /** Targets scored: every token and the end of each document, once. */
  tokens: number;
  /** UTF-8 bytes of the text. */
  bytes: number;
  /** Runs of non-space characters. */
  words: number;
  lm: TextScore;
  knnlm: TextScore;
  /** 95% bootstrap interval, documents resampled (token blocks when there are few). */
  interval: {
    lm: [number, number];
    knnlm: [number, number];
    /** Of the ratio of perplexities, mixture over model alone. */
    ratio: [number, number];
  };
  /** Share of targets to which the mixture gives more probability than the model alone. */
  helped: number;
  /** Share of targets to which it gives less. */
  hurt: number;
  settings: UsedSettings;
  /** Share of targets for which the index was asked. */
  searched: number;
  /** Where memory helps and where it hurts, when asked for. */
  breakdown?: Breakdown;
  /** Wall time. */
  seconds: number;
  /** Time spent searching, while the model read on. */
  retrievalSeconds: number;
  /** When the index failed and was gone on without (`onIndexFailure`). */
  withoutMemory?: WithoutMemory;
}

export interface EvaluateRequest extends RetrievalRequest {
  /** Stop after this many targets. Default: all. */
  maxTokens?: number;
  excludeDocuments?: readonly string[];
  /** Whether it is told where memory helps and where it hurts. Default false. */
  breakdown?: boolean;
  /** Told of every document's targets, document by document. */
  onTokens?: (tokens: Iterable<ReportedToken>) => void | Promise<void>;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** Long work, told in the unit that the message names. */
export interface Progress {
  done: number;
  /** Undefined while unknown. */
  total?: number;
  unit: 'tokens' | 'documents' | 'bytes' | 'entries';
  /** What is being done: `reading`, `building`, `indexing`, `evaluating`, `translating`. */
  phase: string;
  /** Entries written so far, while building. */
  entries?: number;
}

/** A stored context near a token of a scored text, with its text when that was asked for. */
export interface TokenNeighbor
  extends Omit<Neighbor, 'target' | 'before' | 'after'>,
    Partial<Pick<Neighbor, 'target' | 'before' | 'after'>> {
  /** Whether it voted for the token. */
  agrees: boolean;
}

/** A token of a scored text. Log-probabilities are natural. */
export interface TokenScore {
  id: number;
  logP: number;
  logPLm: number;
  /** -Infinity: no neighbor voted for it. */
  logPKnn: number;
  /** Most probable under the mixture first, when asked for. */
  candidates?: Candidate[];
  /** The nearest that voted for it, then the nearest others. Nearest first. */
  neighbors: TokenNeighbor[];
  /** The search was skipped. */
  searched?: false;
}

export interface ScoreTokensRequest extends RetrievalRequest {
  /** Whether the end of the text is scored too. Default true for a text, false for token ids. */
  end?: boolean;
  neighbors?: number;
  /** Tokens of text told before and after each. Default: no text is. */
  around?: number;
  candidates?: number;
  excludeDocuments?: readonly string[];
  signal?: AbortSignal;
}

export interface InspectRequest extends RetrievalRequest {
  /** Neighbors told with their text. Default 0. */
  show?: number;
  /** Tokens of text told before and after each. Default 16. */
  around?: number;
  excludeDocuments?: readonly string[];
  signal?: AbortSignal;
}

export type { CacheSettings, DocumentRecord, RetrievalSettings };
