/**
 * Parts that several requests and replies share. A schema here is three things in one: what a request is checked against,
 * the type that the server and the page compile with (`wire.ts`), and a component of the OpenAPI document.
 * Shapes: k neighbors, T tokens. Log-probabilities are natural; JSON has no -Infinity, so `null` stands for it except in
 * OpenAI's own fields, where it is -9999 as there.
 */
import { z } from 'zod';

/** Neighbors per query that a request may ask for. */
export const MOST_NEIGHBORS = 16_384;
/** Of those, neighbors told with their text per token, and tokens of text around each. */
const MOST_TOLD = 64;
const MOST_AROUND = 256;

/** 0 or more. */
export const count = z.int().min(0);
/** 0 to 1. */
export const share = z.number().min(0).max(1);
export const tokenId = z.int().min(0);

export const errorReply = z
  .object({
    error: z.object({
      message: z.string().describe('One line: what was wrong, the value seen, what to do next.'),
      type: z.enum([
        'invalid_request_error',
        'authentication_error',
        'permission_error',
        'not_found_error',
        'conflict_error',
        'rate_limit_error',
        'overloaded_error',
        'server_error',
      ]),
      param: z.string().nullable().describe('The field that was wrong, when one was.'),
      code: z.string().nullable(),
    }),
  })
  .describe('Every refusal, as OpenAI writes it.');
export type ErrorReply = z.infer<typeof errorReply>;

const retrieval = {
  k: z.int().min(1).max(MOST_NEIGHBORS).optional().describe('Neighbors per query.'),
  lambda: share.optional().describe('Weight of the neighbors, 0 to 1: 0 is the model alone.'),
  temperature: z
    .number()
    .positive()
    .optional()
    .describe('Softmax temperature over negative squared distances.'),
  gate: z
    .boolean()
    .optional()
    .describe(
      "Whether the store's gate weighs the neighbors. Default: when none of the three above is given.",
    ),
  effort: z
    .number()
    .positive()
    .optional()
    .describe(
      'Of the lists that an inverted file usually reads, what share a search reads: fewer are quicker and miss some of the neighbors. Default: what the store was tuned with, or 1.',
    ),
  stores: z
    .array(z.string())
    .min(1)
    .optional()
    .describe('Names of stores to retrieve from. Default: all that are served.'),
  exclude_documents: z
    .array(z.string())
    .max(10_000)
    .optional()
    .describe('Ids of documents that must not be retrieved.'),
};

/** What is remembered, followed and skipped while a text is read. */
const reading = {
  cache: z
    .boolean()
    .optional()
    .describe(
      'Whether the text read so far is remembered as a small store of its own. Default: as the store was tuned, where its settings hold.',
    ),
  pointers: z
    .boolean()
    .optional()
    .describe(
      'Whether neighbors that agreed with the text are followed to the next token. Default: likewise.',
    ),
  adaptive: z
    .union([z.boolean(), share])
    .optional()
    .describe(
      "About what share of the searches is skipped, those that promise least; true is the store's own share, or half. Default: likewise.",
    ),
};

export const retrievalFields = z
  .strictObject(retrieval)
  .describe("Settings of retrieval; what is missing is the store's own.");
export type RetrievalFields = z.infer<typeof retrievalFields>;

export const aroundField = count.max(MOST_AROUND).optional();

export const knnFields = z
  .strictObject({
    ...retrieval,
    ...reading,
    include_neighbors: z
      .union([z.boolean(), count.max(MOST_TOLD)])
      .optional()
      .describe(
        'Neighbors told per token; `true` is 4, `false` none. Default 0; the probabilities are told all the same.',
      ),
    around: aroundField.describe('Tokens of text told around a neighbor. Default 16.'),
    on_index_failure: z
      .enum(['error', 'lm'])
      .optional()
      .describe(
        'When the entries are on Milvus and it does not answer: fail, or go on with the model alone and say so of each token. An echoed prompt is not scored without it. Default `error`.',
      ),
  })
  .describe('The field `knn` of a completion request.');
export type KnnFields = z.infer<typeof knnFields>;

export const usedSettings = z
  .object({
    k: z.int(),
    lambda: z.number(),
    temperature: z.number(),
    gate: z.boolean().describe('A gate took the place of lambda and temperature.'),
    cache: z.literal(true).optional().describe('The text read so far was remembered.'),
    pointers: z.literal(true).optional().describe('Neighbors were followed from token to token.'),
    adaptive: share.optional().describe('About what share of the searches was to be skipped.'),
    effort: z
      .number()
      .optional()
      .describe('So many times the usual lists of an inverted file were read.'),
  })
  .describe('Settings as they were used.');
export type UsedSettings = z.infer<typeof usedSettings>;

export const neighbor = z.object({
  entry: z.int().describe('Counted through all stores that are served.'),
  store: z.string(),
  document: z.string(),
  position: z.int().describe("Which of the document's targets this is, from 0."),
  distance: z.number().describe('Squared L2.'),
  weight: z.number().describe('Share of the vote; those of all k sum to 1.'),
  target: z.string().describe('Text of the stored next token.'),
  target_id: tokenId,
  before: z.string(),
  after: z.string(),
});
export type Neighbor = z.infer<typeof neighbor>;

const candidateFields = {
  id: tokenId,
  text: z.string(),
  p: z.number().describe('Under the mixture.'),
  p_lm: z.number(),
  p_knn: z.number(),
};

export const candidate = z.object(candidateFields);
export type Candidate = z.infer<typeof candidate>;

export const knnToken = z.object({
  ...candidateFields,
  text: z
    .string()
    .describe('Joined they are the text; empty inside a character and for the end of text.'),
  candidates: z
    .array(candidate)
    .optional()
    .describe('Candidates for its place, most probable first: as many as `logprobs` asks for.'),
  neighbors: z.array(neighbor).optional().describe('Nearest first.'),
  prompt: z.literal(true).optional().describe('It was part of the prompt (`echo`).'),
  end: z.literal(true).optional().describe('It ended the text and is no part of it.'),
  without_memory: z
    .literal(true)
    .optional()
    .describe('The model alone gave it: the index did not answer (`on_index_failure`).'),
});
export type KnnToken = z.infer<typeof knnToken>;

export const knnChoice = z.object({
  tokens: z.array(knnToken),
  settings: usedSettings.optional().describe('In a stream with the first chunk only.'),
});
export type KnnChoice = z.infer<typeof knnChoice>;

export const usage = z.object({
  prompt_tokens: count,
  completion_tokens: count,
  total_tokens: count,
});
export type Usage = z.infer<typeof usage>;

/** What is asked of one context: a text, or its token ids. */
export const contextFields = {
  context: z.string().optional(),
  token_ids: z
    .array(tokenId)
    .optional()
    .describe('In place of `context`: without the start token.'),
};

/** What /v1/knn/search and /v1/knn/score take besides, and what the latter does. */
export { reading as readingShape, retrieval as retrievalShape };
