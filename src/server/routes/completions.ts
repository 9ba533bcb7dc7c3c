/** POST /v1/completions. */
import type { Call } from '../call.ts';
import { type FinishReason, generated, type ToldToken } from '../completions/choice.ts';
import { type Prompt, readPrompt } from '../completions/prompt.ts';
import {
  checkModel,
  type FinishedChoice,
  finishAll,
  type PlannedChoice,
  PlannedRequest,
} from '../completions/request.ts';
import { neighborsOf, samplingOf } from '../completions/sampling.ts';
import { streamAll } from '../completions/stream.ts';
import { joinLogprobs, LogprobsWriter, toldToken } from '../completions/tell.ts';
import { Events } from '../event-stream.ts';
import { Refusal } from '../refusal.ts';
import { defineRoute } from '../route.ts';
import { completionReply, completionRequest, MOST_CHOICES } from '../schemas/completions.ts';
import type {
  CompletionChoice,
  CompletionLogprobs,
  CompletionReply,
  CompletionRequest,
} from '../wire.ts';

const DEFAULT_MAX_TOKENS = 16;

export const completions = defineRoute({
  method: 'post',
  path: '/v1/completions',
  id: 'createCompletion',
  tag: 'OpenAI',
  summary: 'Continues a text with the memory.',
  body: completionRequest,
  reply: completionReply,
  event: completionReply,
  readsStores: true,
  async handle({ body }, call) {
    call.user = body.user;
    const request = await planCompletion(body, call);
    return body.stream
      ? new Events(streamCompletion(body, request, call))
      : await wholeCompletion(body, request, call);
  },
});

async function planCompletion(body: CompletionRequest, call: Call): Promise<PlannedRequest> {
  checkModel(body.model, call);
  const { knnlm, options } = call.service;
  const { model } = knnlm;
  const n = body.n ?? 1;
  const best = body.best_of ?? n;
  if (best < n) throw refused('best_of', `best_of must be at least n, ${n}, not ${best}.`);
  if (body.stream && best > n) {
    throw refused('best_of', 'A stream cannot wait for the best: leave out best_of or stream.');
  }
  const texts = promptsOf(body.prompt);
  if (texts.length * best > MOST_CHOICES) {
    throw refused(
      'n',
      `${texts.length} prompts with ${best} choices each are more than ${MOST_CHOICES} choices. Ask for fewer at a time.`,
    );
  }
  const { vocabSize } = model.info;
  const sampling = samplingOf(body, { ...options, vocabSize, otherwise: DEFAULT_MAX_TOKENS });
  const prompts: Prompt[] = [];
  for (const text of texts) prompts.push(await readPrompt(text, model, options.promptTokens));
  const parts = {
    prompts,
    sampling,
    n: best,
    scoresPrompt: tellsLogprobs(body) || body.knn ? (body.echo ?? false) : false,
    candidates: body.logprobs ?? 0,
    knn: body.knn,
  };
  return new PlannedRequest('cmpl', parts, call);
}

const refused = (param: string, message: string): Refusal => new Refusal(400, message, { param });

const tellsLogprobs = ({ logprobs }: CompletionRequest): boolean => logprobs != null;

function promptsOf(prompt: CompletionRequest['prompt']): (string | number[])[] {
  if (typeof prompt === 'string') return [prompt];
  if (typeof prompt[0] === 'number') return [prompt as number[]];
  return prompt as string[] | number[][];
}

/** Tells one choice, part by part. */
class ChoiceTeller {
  readonly #body: CompletionRequest;
  readonly #request: PlannedRequest;
  readonly #call: Call;
  readonly #choice: PlannedChoice;
  readonly #logprobs: LogprobsWriter | undefined;
  #isFirst = true;

  constructor(body: CompletionRequest, request: PlannedRequest, choice: PlannedChoice, call: Call) {
    this.#body = body;
    this.#request = request;
    this.#choice = choice;
    this.#call = call;
    const { tokenizer } = call.service.knnlm.model;
    if (tellsLogprobs(body)) {
      const isEcho = (body.echo ?? false) && choice.prompt.ids.length > 0;
      this.#logprobs = new LogprobsWriter((id) => tokenizer.tokenText(id), isEcho);
    }
  }

  /** What comes before the tokens: an echo that is not scored, and the start token. @returns undefined for nothing */
  opening(): CompletionChoice | undefined {
    const { prompt } = this.#choice;
    if (!this.#body.echo) return undefined;
    if (!this.#logprobs && !this.#body.knn) return this.#part(prompt.pieces.join(''), null);
    if (!this.#logprobs || !prompt.hasStart) return undefined;
    return this.#part('', this.#logprobs.start(this.#call.service.knnlm.model.tokenizer.bos));
  }

  tokens(tokens: readonly ToldToken[]): CompletionChoice {
    const text = tokens.map((token) => token.text).join('');
    const part = this.#part(text, this.#logprobs?.next(tokens) ?? null);
    if (part.knn) {
      const { knnlm } = this.#call.service;
      const { knn, logprobs } = this.#body;
      const tells = { candidates: (logprobs ?? 0) > 0, neighbors: neighborsOf(knn) > 0 };
      part.knn.tokens = tokens.map((token) => toldToken(token, tells, knnlm));
    }
    return part;
  }

  end(finishReason: 'stop' | 'length'): CompletionChoice {
    return { ...this.#part('', null), finish_reason: finishReason };
  }

  #part(text: string, logprobs: CompletionLogprobs | null): CompletionChoice {
    const { index } = this.#choice;
    const settings = this.#isFirst ? { settings: this.#request.settings } : {};
    this.#isFirst = false;
    const knn = this.#body.knn ? { knn: { tokens: [], ...settings } } : {};
    return { index, text, logprobs, finish_reason: null, ...knn };
  }
}

async function wholeCompletion(
  body: CompletionRequest,
  request: PlannedRequest,
  call: Call,
): Promise<CompletionReply> {
  const finished = await finishAll(request.choices, call);
  const completionTokens = finished.reduce((sum, { tokens }) => sum + generated(tokens), 0);
  const told = bestOf(body, request.choices, finished);
  return {
    ...request.head,
    object: 'text_completion',
    choices: told.map(([choice, whole], index) =>
      wholeChoice(whole, new ChoiceTeller(body, request, { ...choice, index }, call)),
    ),
    usage: request.usage(completionTokens),
  };
}

function wholeChoice({ tokens, finishReason }: FinishedChoice, teller: ChoiceTeller) {
  const opening = teller.opening();
  const rest = teller.tokens(tokens);
  const logprobs = [opening?.logprobs, rest.logprobs].filter((part) => part != null);
  return {
    ...rest,
    text: (opening?.text ?? '') + rest.text,
    logprobs: rest.logprobs && joinLogprobs(logprobs),
    finish_reason: finishReason,
    ...(rest.knn && { knn: { ...opening?.knn, ...rest.knn } }),
  };
}

/** Of each prompt's choices the n most probable per token, as OpenAI ranks them. */
function bestOf(
  { n, best_of }: CompletionRequest,
  choices: readonly PlannedChoice[],
  finished: readonly FinishedChoice[],
): [PlannedChoice, FinishedChoice][] {
  const all = choices.map((choice, i): [PlannedChoice, FinishedChoice] => [choice, finished[i]!]);
  const wanted = n ?? 1;
  const tried = best_of ?? wanted;
  if (tried === wanted) return all;
  const best: typeof all = [];
  for (let i = 0; i < all.length; i += tried) {
    const ranked = all.slice(i, i + tried).sort(([, a], [, b]) => meanLogP(b) - meanLogP(a));
    best.push(...ranked.slice(0, wanted));
  }
  return best;
}

function meanLogP({ tokens }: FinishedChoice): number {
  const own = tokens.filter(({ isPrompt }) => !isPrompt);
  return own.reduce((sum, { logP }) => sum + logP, 0) / Math.max(1, own.length);
}

function streamCompletion(
  body: CompletionRequest,
  request: PlannedRequest,
  call: Call,
): AsyncGenerator<CompletionReply> {
  return streamAll(request, {
    object: 'text_completion' as const,
    includesUsage: body.stream_options?.include_usage ?? false,
    tell: (choice, tokens) => streamChoice(tokens, new ChoiceTeller(body, request, choice, call)),
  });
}

async function* streamChoice(
  tokens: AsyncGenerator<ToldToken, FinishReason>,
  teller: ChoiceTeller,
): AsyncGenerator<CompletionChoice> {
  try {
    // With the first token: what is wrong is then said with a status of its own.
    let step = await tokens.next();
    const opening = teller.opening();
    if (opening) yield opening;
    for (; !step.done; step = await tokens.next()) {
      const part = teller.tokens([step.value]);
      // Inside a character there is nothing to tell.
      if (part.text !== '' || part.logprobs || part.knn) yield part;
    }
    yield teller.end(step.value);
  } finally {
    await tokens.return('stop');
  }
}
