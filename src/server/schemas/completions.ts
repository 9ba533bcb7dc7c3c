/** POST /v1/completions, as OpenAI has it, with `knn` beside it. */
import { z } from 'zod';
import { count, knnChoice, knnFields, share, tokenId, usage } from './common.ts';

/** Tokens whose log-probabilities are told at each place. */
const MOST_LOGPROBS = 50;
/** Choices of one request, over all its prompts. */
export const MOST_CHOICES = 256;

const prompt = z
  .union(
    [
      z.string(),
      z.array(z.string()).min(1).max(MOST_CHOICES),
      z.array(tokenId).min(1),
      z.array(z.array(tokenId)).min(1).max(MOST_CHOICES),
    ],
    {
      error: 'It must be a text, a list of texts, a list of token ids or a list of such lists',
    },
  )
  .describe(
    'A text, token ids, or a list of either. Token ids that begin with the start token are read from there; before all others it is put.',
  );

/** What completions and chat share. A null is a field left out, as in OpenAI's API. */
export const samplingFields = {
  model: z.string().optional().describe('As /v1/models names it. Default: the one served.'),
  max_tokens: count.nullish().describe('Tokens to write at most. Default 16, in a chat 1,024.'),
  temperature: z
    .number()
    .min(0)
    .max(100)
    .nullish()
    .describe('0 is greedy, higher more random. Default 1.'),
  top_p: share.nullish().describe('Of the smallest set of tokens this probable. Default 1.'),
  n: z.int().min(1).max(128).nullish().describe('Choices per prompt. Default 1.'),
  stop: z
    .union([z.string(), z.array(z.string()).max(16)], {
      error: 'It must be a text or a list of at most 16 texts',
    })
    .nullish()
    .describe('Stops before any of these texts; they are not part of the reply.'),
  seed: z.int().nullish().describe('Same seed, same text. Default: random.'),
  logit_bias: z
    .record(z.string().regex(/^\d{1,9}$/), z.number().min(-100).max(100))
    .nullish()
    .describe('Added to the scores of tokens, by id.'),
  presence_penalty: z.number().min(-2).max(2).nullish(),
  frequency_penalty: z.number().min(-2).max(2).nullish(),
  stream: z.boolean().nullish().describe('Server-sent events, one per token; then `data: [DONE]`.'),
  stream_options: z
    .object({ include_usage: z.boolean().optional() })
    .nullish()
    .describe('`include_usage` adds a last event with the counts.'),
  user: z.string().nullish().describe('Requests of one user wait behind one another.'),
  top_k: count
    .nullish()
    .describe("Not OpenAI's: of the k most probable tokens only; 0 takes all. Default 0."),
  min_p: share
    .nullish()
    .describe("Not OpenAI's: drops tokens below this share of the best one's probability."),
  repetition_penalty: z
    .number()
    .positive()
    .max(100)
    .nullish()
    .describe("Not OpenAI's: divides the score of tokens already seen; 1 does nothing."),
  knn: knnFields
    .nullish()
    .describe("Not OpenAI's: settings of the memory, and what to tell of it."),
};

export const completionRequest = z.object({
  ...samplingFields,
  prompt,
  best_of: z
    .int()
    .min(1)
    .max(128)
    .nullish()
    .describe('Of so many the n most probable per token are told. Default n.'),
  logprobs: z
    .int()
    .min(0)
    .max(MOST_LOGPROBS)
    .nullish()
    .describe('Log-probabilities of the mixture: of each token, and of so many candidates.'),
  echo: z
    .boolean()
    .nullish()
    .describe('The prompt comes first, scored when `logprobs` or `knn` is.'),
  suffix: z
    .literal(['', null], { error: 'Text after the completion is not supported; leave it out' })
    .optional()
    .describe('Accepted when empty; text after the completion is not supported.'),
});
export type CompletionRequest = z.infer<typeof completionRequest>;

export const completionLogprobs = z
  .object({
    tokens: z.array(z.string()),
    token_logprobs: z.array(z.number().nullable()),
    top_logprobs: z.array(z.record(z.string(), z.number()).nullable()),
    text_offset: z.array(z.int()).describe('In characters (Unicode code points) of `text`.'),
  })
  .describe(
    '(T) each: the prompt with `echo`, the very first with null, then every token that was generated, one that ended the text too.',
  );
export type CompletionLogprobs = z.infer<typeof completionLogprobs>;

export const completionChoice = z.object({
  index: z.int(),
  text: z.string(),
  logprobs: completionLogprobs.nullable(),
  finish_reason: z.enum(['stop', 'length']).nullable().describe('In a stream null until the last.'),
  knn: knnChoice.optional().describe('When the request has `knn`.'),
});
export type CompletionChoice = z.infer<typeof completionChoice>;

export const completionReply = z.object({
  id: z.string(),
  object: z.literal('text_completion'),
  created: z.int().describe('Unix seconds.'),
  model: z.string(),
  system_fingerprint: z.string().describe('Another when the model or what is stored has changed.'),
  choices: z.array(completionChoice),
  usage: usage
    .nullish()
    .describe('In a stream null until the last event, and only when asked for.'),
});
export type CompletionReply = z.infer<typeof completionReply>;
