/** POST /v1/knn/score: a text under the model and under the mixture, as `knnlm eval` scores a document. */
import { z } from 'zod';
import {
  count,
  errorReply,
  readingShape,
  retrievalShape,
  tokenId,
  usedSettings,
} from './common.ts';

export const scoreRequest = z.strictObject({
  ...retrievalShape,
  ...readingShape,
  text: z.string(),
  neighbors: count
    .max(64)
    .optional()
    .describe('Neighbors told per token, nearest supporters first. Default 1.'),
  stream: z
    .boolean()
    .optional()
    .describe('Server-sent events as the text is read; then `data: [DONE]`.'),
});
export type ScoreRequest = z.infer<typeof scoreRequest>;

export const scoredToken = z.object({
  id: tokenId,
  text: z
    .string()
    .describe('Joined they are the text; empty for the end of text, which is the last.'),
  log_p: z.number().nullable().describe('null: the mixture holds it for impossible.'),
  log_p_lm: z.number(),
  log_p_knn: z.number().nullable().describe('null: no neighbor voted for it.'),
  neighbors: z
    .array(
      z.object({
        store: z.string(),
        document: z.string(),
        position: z.int(),
        distance: z.number(),
        weight: z.number(),
        agrees: z.boolean().describe('Whether it voted for this token.'),
      }),
    )
    .describe('The nearest that voted for it, else the nearest.'),
});
export type ScoredToken = z.infer<typeof scoredToken>;

export const textScore = z
  .object({
    nll: z.number().nullable().describe('Nats, summed.'),
    perplexity: z.number().nullable(),
    word_perplexity: z.number().nullable(),
    bits_per_byte: z.number().nullable(),
  })
  .describe('null is infinite: a token was held for impossible.');
export type TextScore = z.infer<typeof textScore>;

const summary = {
  tokens: count,
  bytes: count,
  words: count,
  lm: textScore,
  knnlm: textScore,
  helped: z
    .number()
    .describe('Share of targets to which the mixture gives more probability than the model;'),
  hurt: z.number().describe('and less.'),
  settings: usedSettings,
  seconds: z.number(),
};
export const scoreSummary = z.object(summary);
export type ScoreSummary = z.infer<typeof scoreSummary>;

export const scoreReply = z.object({ ...summary, scored: z.array(scoredToken) });
export type ScoreReply = z.infer<typeof scoreReply>;

export const scoreEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('start'), tokens: count, settings: usedSettings }),
  z.object({ type: z.literal('tokens'), from: count, scored: z.array(scoredToken) }),
  z.object({ type: z.literal('summary'), ...summary }),
  z.object({ type: z.literal('error'), ...errorReply.shape }),
]);
export type ScoreEvent = z.infer<typeof scoreEvent>;
