/** POST /v1/chat/completions, for models with a chat template. */
import { z } from 'zod';
import { count, knnChoice, usage } from './common.ts';
import { samplingFields } from './completions.ts';

const MOST_TOP_LOGPROBS = 20;

export const chatMessage = z.object({
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.union([z.string(), z.array(z.object({ type: z.literal('text'), text: z.string() }))], {
    error: 'It must be a text or a list of parts {"type": "text", "text": ...}',
  }),
  name: z.string().optional(),
});
export type ChatMessage = z.infer<typeof chatMessage>;

/** Named, so that it is refused and not passed over. */
const unsupported = (what: string) =>
  z
    .null({ error: `${what} is not supported; leave it out` })
    .optional()
    .describe('Not supported.');

export const chatRequest = z.object({
  ...samplingFields,
  messages: z.array(chatMessage).min(1),
  max_completion_tokens: count.nullish().describe('The newer name of `max_tokens`.'),
  logprobs: z.boolean().nullish(),
  top_logprobs: count.max(MOST_TOP_LOGPROBS).nullish().describe('Needs `logprobs`.'),
  response_format: z
    .object({ type: z.literal('text', { error: 'Only text is supported' }) })
    .nullish(),
  tools: unsupported('A tool'),
  functions: unsupported('A function'),
});
export type ChatRequest = z.infer<typeof chatRequest>;

const tokenLogprob = {
  token: z.string(),
  logprob: z.number(),
  bytes: z.array(z.int()).nullable(),
};
export const chatTokenLogprob = z.object(tokenLogprob);
export type ChatTokenLogprob = z.infer<typeof chatTokenLogprob>;

export const chatLogprobs = z.object({
  content: z.array(z.object({ ...tokenLogprob, top_logprobs: z.array(chatTokenLogprob) })),
  refusal: z.null(),
});
export type ChatLogprobs = z.infer<typeof chatLogprobs>;

const head = {
  id: z.string(),
  created: z.int(),
  model: z.string(),
  system_fingerprint: z.string(),
};

export const chatReply = z.object({
  ...head,
  object: z.literal('chat.completion'),
  choices: z.array(
    z.object({
      index: z.int(),
      message: z.object({
        role: z.literal('assistant'),
        content: z.string(),
        refusal: z.null(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: z.enum(['stop', 'length']),
      knn: knnChoice.optional(),
    }),
  ),
  usage,
});
export type ChatReply = z.infer<typeof chatReply>;

export const chatChunk = z.object({
  ...head,
  object: z.literal('chat.completion.chunk'),
  choices: z.array(
    z.object({
      index: z.int(),
      delta: z.object({
        role: z.literal('assistant').optional(),
        content: z.string().optional(),
      }),
      logprobs: chatLogprobs.nullable(),
      finish_reason: z.enum(['stop', 'length']).nullable(),
      knn: knnChoice.optional(),
    }),
  ),
  usage: usage.nullish(),
});
export type ChatChunk = z.infer<typeof chatChunk>;
