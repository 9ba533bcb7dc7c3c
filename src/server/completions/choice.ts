/** One choice of a completion as a stream of tokens: the prompt's, when they are asked for, then those that are generated. */
import type { GeneratedToken, GenerateRequest } from '../../knnlm/generation-types.ts';
import type { Candidate, Neighbor, TokenScore } from '../../knnlm/types.ts';
import type { Call } from '../call.ts';
import { giftsOf } from '../contributions.ts';
import { Refusal } from '../refusal.ts';
import type { Prompt } from './prompt.ts';

/** What a reply says of a token. Log-probabilities are natural and those of the mixture. */
export interface ToldToken {
  id: number;
  /** Its part of the text. */
  text: string;
  logP: number;
  p: number;
  pLm: number;
  pKnn: number;
  /** Most probable first. */
  candidates: readonly Candidate[];
  neighbors: readonly Neighbor[];
  isPrompt?: true;
  /** It ended the text. */
  isEnd?: true;
  /** The model alone gave it, since the index did not answer. */
  isWithoutMemory?: true;
}

export interface ChoiceRequest {
  prompt: Prompt;
  sampling: GenerateRequest;
  /** Whether the prompt's tokens are told, scored. */
  scoresPrompt: boolean;
  /** Candidates and neighbors told per token. */
  candidates: number;
  neighbors: number;
}

export type FinishReason = 'stop' | 'length';

/** Tokens that were generated and not given. */
export const generated = (tokens: readonly ToldToken[]): number =>
  tokens.reduce((sum, { isPrompt }) => sum + (isPrompt ? 0 : 1), 0);

const DEFAULT_AROUND = 16;
/** Neighbors looked at where none are told, for what documents give: in a generated text and in a scored one. */
const LOOKED_AT = 8;
const LOOKED_AT_IN_PROMPT = 4;
/** Neighbors told of a prompt, in all: their text takes memory until the reply is sent. */
const MOST_PROMPT_NEIGHBORS = 2 ** 18;

/** Errors: those of `KnnLM.generate` and `scoreTokens`; `Refusal` for more neighbors than can be told. */
export async function* runChoice(
  request: ChoiceRequest,
  call: Call,
): AsyncGenerator<ToldToken, FinishReason> {
  const release = await call.slot();
  try {
    if (request.scoresPrompt) yield* scorePrompt(request, call);
    return yield* generateTokens(request, call);
  } finally {
    release();
  }
}

async function* generateTokens(
  { prompt, sampling, candidates, neighbors }: ChoiceRequest,
  { service, signal }: Call,
): AsyncGenerator<ToldToken, FinishReason> {
  const tells = neighbors > 0;
  const stream = service.knnlm.generate(prompt.ids, {
    ...sampling,
    candidates,
    neighbors: tells ? neighbors : LOOKED_AT,
    around: tells ? sampling.around : 0,
    end: true,
    keepTokens: false,
    signal,
  });
  const tick = service.metrics.tokenTimer();
  try {
    for (;;) {
      const step = await stream.next();
      if (step.done) return step.value.finishReason;
      tick();
      service.metrics.count('generated', 1);
      yield toldGenerated(step.value, tells, service);
    }
  } finally {
    await stream.return?.(undefined as never);
  }
}

function toldGenerated(
  token: GeneratedToken,
  tells: boolean,
  { contributions, knnlm }: Call['service'],
): ToldToken {
  const { id, text, p, pLm, pKnn, candidates = [], end, withoutMemory } = token;
  const { name } = knnlm.stores[0]!;
  const votes = token.neighbors.map(({ store = name, document, weight, targetId }) => ({
    store,
    document,
    weight,
    agrees: targetId === id,
  }));
  contributions.add(giftsOf(token, votes));
  return {
    id,
    text,
    logP: Math.log(p),
    p,
    pLm,
    pKnn,
    candidates,
    neighbors: tells ? token.neighbors : [],
    ...(end && { isEnd: true }),
    ...(withoutMemory && { isWithoutMemory: true }),
  };
}

async function* scorePrompt(
  { prompt, sampling, candidates, neighbors }: ChoiceRequest,
  { service, signal }: Call,
): AsyncGenerator<ToldToken> {
  if (prompt.ids.length * neighbors > MOST_PROMPT_NEIGHBORS) {
    throw new Refusal(
      400,
      `With include_neighbors ${neighbors} a prompt of ${prompt.ids.length} tokens cannot be echoed: at most ${MOST_PROMPT_NEIGHBORS} neighbors are told of a prompt. Ask for fewer, or for a shorter one.`,
      { param: 'knn.include_neighbors' },
    );
  }
  const scores = service.knnlm.scoreTokens(prompt.ids, {
    ...sampling.knn,
    excludeDocuments: sampling.excludeDocuments,
    candidates,
    neighbors: neighbors || LOOKED_AT_IN_PROMPT,
    around: neighbors > 0 ? (sampling.around ?? DEFAULT_AROUND) : undefined,
    signal,
  });
  let at = 0;
  for await (const piece of scores) {
    service.metrics.count('scored', piece.length);
    for (const score of piece) yield toldScore(score, prompt.pieces[at++]!, neighbors > 0, service);
  }
}

function toldScore(
  { id, logP, logPLm, logPKnn, candidates = [], neighbors }: TokenScore,
  text: string,
  tells: boolean,
  { contributions, knnlm }: Call['service'],
): ToldToken {
  const { name } = knnlm.stores[0]!;
  const [p, pLm, pKnn] = [Math.exp(logP), Math.exp(logPLm), Math.exp(logPKnn)];
  const votes = neighbors.map((neighbor) => ({ ...neighbor, store: neighbor.store ?? name }));
  contributions.add(giftsOf({ p, pLm, pKnn }, votes));
  // With their text, when that was asked for.
  const told = tells ? (neighbors as Neighbor[]) : [];
  return { id, text, logP, p, pLm, pKnn, candidates, neighbors: told, isPrompt: true };
}
