/** What a reply says of tokens: OpenAI's log-probabilities, and `knn` beside them. */
import type { KnnLM } from '../../knnlm/knnlm.ts';
import type { Candidate, Neighbor } from '../../knnlm/types.ts';
import type {
  CompletionLogprobs,
  KnnToken,
  Candidate as ToldCandidate,
  Neighbor as ToldNeighbor,
} from '../wire.ts';
import type { ToldToken } from './choice.ts';

/** What OpenAI writes for log 0: JSON has no -Infinity. */
const LOWEST = -9999;

export const toldLogprob = (logP: number): number => Math.max(logP, LOWEST);

export function toldCandidate({ id, text, p, pLm, pKnn }: Candidate): ToldCandidate {
  return { id, text, p, p_lm: pLm, p_knn: pKnn };
}

export function toldNeighbor(
  { entry, store, document, position, distance, weight, target, targetId, before, after }: Neighbor,
  { stores }: KnnLM,
): ToldNeighbor {
  return {
    entry,
    store: store ?? stores[0]!.name,
    document,
    position,
    distance,
    weight,
    target,
    target_id: targetId,
    before,
    after,
  };
}

export interface KnnTelling {
  candidates: boolean;
  neighbors: boolean;
}

export function toldToken(
  { id, text, p, pLm, pKnn, isPrompt, isEnd, isWithoutMemory, ...token }: ToldToken,
  tells: KnnTelling,
  knnlm: KnnLM,
): KnnToken {
  return {
    ...toldCandidate({ id, text, p, pLm, pKnn }),
    ...(tells.candidates && { candidates: token.candidates.map(toldCandidate) }),
    ...(tells.neighbors && {
      neighbors: token.neighbors.map((neighbor) => toldNeighbor(neighbor, knnlm)),
    }),
    ...(isPrompt && { prompt: true }),
    ...(isEnd && { end: true }),
    ...(isWithoutMemory && { without_memory: true }),
  };
}

/** A candidate by the name under which its log-probability is told. */
export interface NamedLogprob {
  id: number;
  name: string;
  logP: number;
}

/**
 * The token and its candidates, most probable first, the token itself among them. It has the very number that is told of
 * the token, so that whoever compares the two finds them equal.
 */
export function namedLogprobs(
  { id, logP, candidates }: Pick<ToldToken, 'id' | 'logP' | 'candidates'>,
  tokenText: (id: number) => string,
): NamedLogprob[] {
  const told = candidates.map((candidate) => ({
    id: candidate.id,
    name: candidate.text,
    logP: candidate.id === id ? logP : Math.log(candidate.p),
  }));
  if (!told.some((candidate) => candidate.id === id)) told.push({ id, name: tokenText(id), logP });
  return told;
}

/** `logprobs` of a choice as it grows. */
export class LogprobsWriter {
  readonly #tokenText: (id: number) => string;
  /** Code points of the text so far. */
  #offset = 0;
  #isFirst: boolean;

  /** @param isEcho the first token is the prompt's: nothing comes before it, so nothing is told of it */
  constructor(tokenText: (id: number) => string, isEcho: boolean) {
    this.#tokenText = tokenText;
    this.#isFirst = isEcho;
  }

  /** A prompt's start token, which was given and not predicted. */
  start(id: number): CompletionLogprobs {
    this.#isFirst = false;
    return {
      tokens: [this.#tokenText(id)],
      token_logprobs: [null],
      top_logprobs: [null],
      text_offset: [0],
    };
  }

  next(tokens: readonly ToldToken[]): CompletionLogprobs {
    const logprobs: CompletionLogprobs = {
      tokens: [],
      token_logprobs: [],
      top_logprobs: [],
      text_offset: [],
    };
    for (const token of tokens) {
      logprobs.tokens.push(this.#tokenText(token.id));
      logprobs.token_logprobs.push(this.#isFirst ? null : toldLogprob(token.logP));
      logprobs.top_logprobs.push(this.#isFirst ? null : this.#top(token));
      logprobs.text_offset.push(this.#offset);
      this.#offset += codePoints(token.text);
      this.#isFirst = false;
    }
    return logprobs;
  }

  /** Two tokens may be spelled alike; then the likelier has the name, and the other's id is told with it. */
  #top(token: ToldToken): Record<string, number> {
    const top = new Map<string, number>();
    for (const { id, name, logP } of namedLogprobs(token, this.#tokenText)) {
      top.set(top.has(name) ? `${name} (${id})` : name, toldLogprob(logP));
    }
    return Object.fromEntries(top);
  }
}

function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

export function joinLogprobs(parts: readonly CompletionLogprobs[]): CompletionLogprobs {
  return {
    tokens: parts.flatMap((part) => part.tokens),
    token_logprobs: parts.flatMap((part) => part.token_logprobs),
    top_logprobs: parts.flatMap((part) => part.top_logprobs),
    text_offset: parts.flatMap((part) => part.text_offset),
  };
}
