/** The fields of a request under the library's names. A null is a field left out. */
import type { GenerateRequest } from '../../knnlm/generation-types.ts';
import type { ResolvedSettings, RetrievalRequest } from '../../knnlm/types.ts';
import type { ResolvedOptions } from '../options.ts';
import { Refusal } from '../refusal.ts';
import type { CompletionRequest, KnnFields, UsedSettings } from '../wire.ts';

type SamplingFields = Omit<CompletionRequest, 'prompt' | 'logprobs'>;

const DEFAULT_NEIGHBORS = 4;

/** Settings of retrieval, without what only says what to tell. */
export function retrievalOf(fields: KnnFields | null | undefined): RetrievalRequest {
  const { on_index_failure: onIndexFailure, ...own } = fields ?? {};
  const { k, lambda, temperature, gate, effort, stores } = own;
  const { cache, pointers, adaptive } = own;
  return {
    ...{ k, lambda, temperature, gate, effort, stores },
    ...{ cache, pointers, adaptive, onIndexFailure },
  };
}

/** Neighbors to tell per token. */
export function neighborsOf(fields: KnnFields | null | undefined): number {
  const { include_neighbors: included = 0 } = fields ?? {};
  return typeof included === 'boolean' ? (included ? DEFAULT_NEIGHBORS : 0) : included;
}

export interface SamplingLimits extends Pick<ResolvedOptions, 'maxTokens'> {
  vocabSize: number;
  /** Tokens written when the request says nothing. */
  otherwise: number;
}

/** How to continue the prompt for the choice of this number. Errors: `Refusal` with 400. */
export function samplingOf(
  body: SamplingFields,
  { maxTokens: most, vocabSize, otherwise }: SamplingLimits,
): (choice: number) => GenerateRequest {
  const maxTokens = body.max_tokens ?? Math.min(otherwise, most);
  if (maxTokens > most) {
    throw new Refusal(400, `max_tokens must be at most ${most} here, not ${maxTokens}.`, {
      param: 'max_tokens',
    });
  }
  const { stop, seed } = body;
  const request: GenerateRequest = {
    maxTokens,
    temperature: body.temperature ?? 1,
    topK: body.top_k ?? 0,
    // Of no probability at all the most probable token is left, as at OpenAI.
    topP: Math.max(body.top_p ?? 1, Number.MIN_VALUE),
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    logitBias: biasOf(body.logit_bias ?? {}, vocabSize),
    stop: typeof stop === 'string' ? [stop] : (stop ?? []),
    knn: retrievalOf(body.knn),
    excludeDocuments: body.knn?.exclude_documents,
    around: body.knn?.around,
  };
  return (choice) => ({ ...request, seed: seed == null ? undefined : seedOf(seed, choice) });
}

function biasOf(given: Readonly<Record<string, number>>, vocabSize: number) {
  const stray = Object.keys(given).find((id) => Number(id) >= vocabSize);
  if (stray === undefined) return given;
  throw new Refusal(
    400,
    `logit_bias: Token ids lie between 0 and ${vocabSize - 1}, but one is ${stray}.`,
    { param: 'logit_bias' },
  );
}

/** Choices differ, and the same request gives the same ones. */
function seedOf(seed: number, choice: number): number {
  return seed > 0 ? seed - choice : seed + choice;
}

export function toldSettings(settings: ResolvedSettings): UsedSettings {
  const { k, lambda, temperature, gate, cache, pointers, skip, effort } = settings;
  return {
    ...{ k, lambda, temperature, gate: gate !== undefined },
    ...(cache && { cache: true as const }),
    ...(pointers && { pointers }),
    ...(skip && { adaptive: skip.share }),
    ...(effort !== undefined && { effort }),
  };
}
