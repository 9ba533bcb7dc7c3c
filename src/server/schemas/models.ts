/** What is served: /v1/models and /health, and the tokenizer as lm-evaluation-harness asks for it. */
import { z } from 'zod';
import { count, tokenId } from './common.ts';

export const modelReply = z.object({
  id: z.string(),
  object: z.literal('model'),
  created: z.int(),
  owned_by: z.string(),
});
export type ModelReply = z.infer<typeof modelReply>;

export const modelsReply = z.object({ object: z.literal('list'), data: z.array(modelReply) });
export type ModelsReply = z.infer<typeof modelsReply>;

export const tokenizeRequest = z.object({
  prompt: z
    .string()
    .describe(
      'Read as a document is: special tokens written out are plain text. Only a prompt that is the name of one and nothing else is that token.',
    ),
  add_special_tokens: z.boolean().optional().describe('Puts the start token first. Default false.'),
});
export type TokenizeRequest = z.infer<typeof tokenizeRequest>;
export const tokenizeReply = z.object({ tokens: z.array(tokenId), count });
export type TokenizeReply = z.infer<typeof tokenizeReply>;

export const detokenizeRequest = z.object({ tokens: z.array(tokenId) });
export type DetokenizeRequest = z.infer<typeof detokenizeRequest>;
export const detokenizeReply = z.object({ prompt: z.string() });
export type DetokenizeReply = z.infer<typeof detokenizeReply>;

export const tokenizerInfoReply = z.object({
  bos_token: z.string(),
  eos_token: z.string(),
  pad_token: z.string(),
  bos_token_id: tokenId,
  eos_token_id: tokenId,
  vocab_size: z.int(),
  model_max_length: z.int(),
  chat_template: z.string().nullable(),
});
export type TokenizerInfoReply = z.infer<typeof tokenizerInfoReply>;

export const healthReply = z.object({ status: z.enum(['ok', 'stopping']) });
export type HealthReply = z.infer<typeof healthReply>;
