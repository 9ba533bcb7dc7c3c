/** A completion request as it will be worked on: its prompts read, its choices laid out. Completions and chat share it. */
import type { GenerateRequest } from '../../knnlm/generation-types.ts';
import type { Call } from '../call.ts';
import { newId, systemFingerprint } from '../identity.ts';
import { Refusal } from '../refusal.ts';
import type { KnnFields, Usage, UsedSettings } from '../wire.ts';
import { type ChoiceRequest, type FinishReason, runChoice, type ToldToken } from './choice.ts';
import { lengthOf, type Prompt } from './prompt.ts';
import { neighborsOf, retrievalOf, toldSettings } from './sampling.ts';

export interface RequestParts {
  prompts: readonly Prompt[];
  sampling: (choice: number) => GenerateRequest;
  /** Choices per prompt. */
  n: number;
  scoresPrompt: boolean;
  candidates: number;
  knn: KnnFields | null | undefined;
}

/** A choice from its first token to its last. */
export interface PlannedChoice {
  index: number;
  prompt: Prompt;
  run: () => AsyncGenerator<ToldToken, FinishReason>;
}

/** What every reply and every event of one request begins with. */
export interface ReplyHead {
  id: string;
  created: number;
  model: string;
  system_fingerprint: string;
}

export class PlannedRequest {
  readonly head: ReplyHead;
  readonly settings: UsedSettings;
  /** By prompt, n each. */
  readonly choices: readonly PlannedChoice[];
  /** Of all prompts. */
  readonly promptTokens: number;

  /** Errors: `INVALID_ARGUMENT` for settings that cannot be. */
  constructor(prefix: string, { prompts, n, knn, ...parts }: RequestParts, call: Call) {
    const { knnlm, modelName, metrics } = call.service;
    this.head = {
      id: newId(prefix),
      created: Math.floor(Date.now() / 1000),
      model: modelName,
      system_fingerprint: systemFingerprint(knnlm),
    };
    this.settings = toldSettings(knnlm.settings(retrievalOf(knn)));
    this.promptTokens = prompts.reduce((sum, prompt) => sum + lengthOf(prompt), 0);
    metrics.count('prompt', this.promptTokens);
    const { scoresPrompt, candidates } = parts;
    const rest = { scoresPrompt, candidates, neighbors: neighborsOf(knn) };
    this.choices = prompts.flatMap((prompt, i) =>
      Array.from({ length: n }, (_, j): PlannedChoice => {
        const request: ChoiceRequest = { ...rest, prompt, sampling: parts.sampling(j) };
        return { index: i * n + j, prompt, run: () => runChoice(request, call) };
      }),
    );
  }

  usage(completionTokens: number): Usage {
    return {
      prompt_tokens: this.promptTokens,
      completion_tokens: completionTokens,
      total_tokens: this.promptTokens + completionTokens,
    };
  }
}

/** Errors: `Refusal` with 404 for a model that is not served. */
export function checkModel(name: string | undefined, call: Call): void {
  const { modelName } = call.service;
  if (name === undefined || name === modelName) return;
  throw new Refusal(404, `The model ${JSON.stringify(name)} is not served, but ${modelName} is.`, {
    param: 'model',
    code: 'model_not_found',
  });
}

/** The whole of a choice. */
export interface FinishedChoice {
  tokens: ToldToken[];
  finishReason: FinishReason;
}

/** All choices at once, as far as there are slots. When one fails the others are stopped. */
export async function finishAll(
  choices: readonly PlannedChoice[],
  call: Call,
): Promise<FinishedChoice[]> {
  const runs = choices.map(async ({ run }) => {
    const stream = run();
    const tokens: ToldToken[] = [];
    for (;;) {
      const step = await stream.next();
      if (step.done) return { tokens, finishReason: step.value };
      tokens.push(step.value);
    }
  });
  const turns = await Promise.allSettled(
    runs.map((run) =>
      run.catch((error: unknown) => {
        call.abort(call.refusalOf(error));
        throw error;
      }),
    ),
  );
  const failed = turns.find((turn) => turn.status === 'rejected');
  if (failed) throw failed.reason;
  return turns.flatMap((turn) => (turn.status === 'fulfilled' ? [turn.value] : []));
}
