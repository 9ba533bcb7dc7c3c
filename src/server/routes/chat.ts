/** POST /v1/chat/completions, for models with a chat template. */
import type { ChatMessage } from '../../model/chat-template.ts';
import type { Tokenizer } from '../../model/tokenizer.ts';
import type { Call } from '../call.ts';
import { generated, type ToldToken } from '../completions/choice.ts';
import { readChat } from '../completions/prompt.ts';
import { checkModel, finishAll, PlannedRequest } from '../completions/request.ts';
import { neighborsOf, samplingOf } from '../completions/sampling.ts';
import { streamAll } from '../completions/stream.ts';
import { namedLogprobs, toldLogprob, toldToken } from '../completions/tell.ts';
import { Events } from '../event-stream.ts';
import { Refusal } from '../refusal.ts';
import { defineRoute } from '../route.ts';
import { chatChunk, chatReply, chatRequest } from '../schemas/chat.ts';
import type {
  ChatChunk,
  ChatLogprobs,
  ChatReply,
  ChatRequest,
  ChatTokenLogprob,
  KnnChoice,
} from '../wire.ts';

const DEFAULT_MAX_TOKENS = 1024;

export const chat = defineRoute({
  method: 'post',
  path: '/v1/chat/completions',
  id: 'createChatCompletion',
  tag: 'OpenAI',
  summary: 'Answers in a conversation, with the memory.',
  body: chatRequest,
  reply: chatReply,
  event: chatChunk,
  readsStores: true,
  async handle({ body }, call) {
    call.user = body.user;
    const request = await planChat(body, call);
    return body.stream
      ? new Events(streamChat(body, request, call))
      : await wholeChat(body, request, call);
  },
});

async function planChat(body: ChatRequest, call: Call): Promise<PlannedRequest> {
  checkModel(body.model, call);
  const { knnlm, options } = call.service;
  const { model } = knnlm;
  if (model.chatTemplate === undefined) {
    throw new Refusal(
      400,
      `${call.service.modelName} has no chat template: it continues texts and does not know turns. Use /v1/completions, or serve a model made for chat.`,
      { code: 'no_chat_template' },
    );
  }
  if (body.top_logprobs && !body.logprobs) {
    throw new Refusal(400, 'top_logprobs: It needs "logprobs": true.', { param: 'top_logprobs' });
  }
  const { vocabSize } = model.info;
  const limited = { ...body, max_tokens: body.max_completion_tokens ?? body.max_tokens };
  const limits = { ...options, vocabSize, otherwise: DEFAULT_MAX_TOKENS };
  const sampling = samplingOf(limited, limits);
  const prompt = await readChat(body.messages.map(plainMessage), model, options.promptTokens);
  const parts = {
    prompts: [prompt],
    sampling,
    n: body.n ?? 1,
    scoresPrompt: false,
    candidates: body.top_logprobs ?? 0,
    knn: body.knn,
  };
  return new PlannedRequest('chatcmpl', parts, call);
}

/** As templates know them: parts joined, and no developers. */
function plainMessage({ role, content, name }: ChatRequest['messages'][number]): ChatMessage {
  return {
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map(({ text }) => text).join(''),
    ...(name !== undefined && { name }),
  };
}

/** What is told of tokens beside their text. */
function toldOf(
  tokens: readonly ToldToken[],
  { logprobs, top_logprobs, knn }: ChatRequest,
  { service: { knnlm } }: Call,
): { logprobs: ChatLogprobs | null; knn?: KnnChoice } {
  const { tokenizer } = knnlm.model;
  const tells = { candidates: (top_logprobs ?? 0) > 0, neighbors: neighborsOf(knn) > 0 };
  return {
    logprobs: logprobs ? chatLogprobs(tokens, top_logprobs ?? 0, tokenizer) : null,
    ...(knn && { knn: { tokens: tokens.map((token) => toldToken(token, tells, knnlm)) } }),
  };
}

function chatLogprobs(
  tokens: readonly ToldToken[],
  top: number,
  tokenizer: Tokenizer,
): ChatLogprobs {
  const told = (id: number, name: string, logP: number): ChatTokenLogprob => ({
    token: name,
    logprob: toldLogprob(logP),
    bytes: Array.from(tokenizer.tokenBytes(id)),
  });
  const nameOf = (id: number): string => tokenizer.tokenText(id);
  // Of the end of a turn OpenAI tells nothing.
  const content = tokens
    .filter(({ isEnd }) => !isEnd)
    .map((token) => ({
      ...told(token.id, nameOf(token.id), token.logP),
      top_logprobs: namedLogprobs(token, nameOf)
        .slice(0, top)
        .map(({ id, name, logP }) => told(id, name, logP)),
    }));
  return { content, refusal: null };
}

async function wholeChat(
  body: ChatRequest,
  request: PlannedRequest,
  call: Call,
): Promise<ChatReply> {
  const finished = await finishAll(request.choices, call);
  return {
    ...request.head,
    object: 'chat.completion',
    choices: finished.map(({ tokens, finishReason }, index) => {
      const { logprobs, knn } = toldOf(tokens, body, call);
      return {
        index,
        message: {
          role: 'assistant' as const,
          content: tokens.map(({ text }) => text).join(''),
          refusal: null,
        },
        logprobs,
        finish_reason: finishReason,
        ...(knn && { knn: { ...knn, settings: request.settings } }),
      };
    }),
    usage: request.usage(finished.reduce((sum, { tokens }) => sum + generated(tokens), 0)),
  };
}

type ChunkChoice = ChatChunk['choices'][number];

function streamChat(
  body: ChatRequest,
  request: PlannedRequest,
  call: Call,
): AsyncGenerator<ChatChunk> {
  const opening = body.knn ? { knn: { tokens: [], settings: request.settings } } : {};
  return streamAll(request, {
    object: 'chat.completion.chunk' as const,
    includesUsage: body.stream_options?.include_usage ?? false,
    async *tell({ index }, tokens): AsyncGenerator<ChunkChoice> {
      const nothing = { index, logprobs: null, finish_reason: null };
      try {
        // With the first token: what is wrong is then said with a status of its own.
        let step = await tokens.next();
        yield { ...nothing, delta: { role: 'assistant', content: '' }, ...opening };
        for (; !step.done; step = await tokens.next()) {
          const { text, isEnd } = step.value;
          const told = toldOf([step.value], body, call);
          if (isEnd) told.logprobs = null;
          // Inside a character there is nothing to tell.
          if (text === '' && !told.logprobs && !told.knn) continue;
          yield { ...nothing, delta: { content: text }, ...told };
        }
        yield { ...nothing, delta: {}, finish_reason: step.value };
      } finally {
        await tokens.return('stop');
      }
    },
  });
}
