/** GET /v1/knn/info and /v1/knn/statistics. */
import { z } from 'zod';
import { count, share } from './common.ts';

export const gateParameters = z
  .object({
    temperatures: z.array(z.number()),
    ranks: z.array(z.int()),
    usesModel: z.boolean().optional().describe("Whether the model's certainty is a feature."),
    runs: z.array(z.number()).optional().describe('Temperatures of the pointers, in tokens.'),
    cache: z
      .object({ temperatures: z.array(z.number()), ranks: z.array(z.int()) })
      .optional()
      .describe('Of the text read so far.'),
    means: z.array(z.number()),
    deviations: z.array(z.number()),
    weights: z
      .array(z.array(z.number()))
      .describe("(E, F + 1) the model's row first, then one per temperature of each source."),
  })
  .describe('The numbers of a gate (`src/knnlm/gate.ts`). Shapes: F features, E experts.');
export type GateParameters = z.infer<typeof gateParameters>;

export const storeSettings = z.object({
  k: z.int(),
  lambda: z.number(),
  temperature: z.number(),
  source: z.enum(['default', 'given', 'self-tuned', 'tuned']),
  gate: gateParameters.nullable(),
  cache: z.literal(true).optional().describe('The text read so far is remembered by default.'),
  pointers: z.literal(true).optional().describe('Neighbors are followed by default.'),
  adaptive: share.optional().describe('About what share of the searches is skipped by default.'),
  effort: z
    .number()
    .optional()
    .describe('So many times the usual lists of an inverted file are read by default.'),
  evidence: z
    .record(z.string(), z.unknown())
    .nullable()
    .describe('What they were tuned on and what was measured, as the store keeps it.'),
});
export type StoreSettings = z.infer<typeof storeSettings>;

export const storeReply = z.object({
  name: z.string().describe('What `stores` in a request and `store` in a query call it.'),
  documents: count,
  entries: count,
  deleted: count.describe('Removed entries still on disk.'),
  key_dim: z.int(),
  key_dtype: z.string(),
  window: z.int(),
  stride: z.int(),
  bytes: z
    .object({
      keys: count,
      values: count,
      documents: count,
      checksums: count,
      manifest: count,
      index: count,
      total: count,
    })
    .describe('On disk.'),
  bytes_per_entry: z.number(),
  index: z.object({
    kind: z.string().describe('`flat` is exact search; another is an approximate index.'),
    indexed: count.nullable(),
    lists: count.nullable(),
    probes: count.nullable(),
    recall: z
      .number()
      .nullable()
      .describe('As measured when it was built: share of the true neighbors found,'),
    error: z.number().nullable().describe('and mean |Δ log p| of the mixture in nats.'),
  }),
  settings: storeSettings,
  complete: z.boolean(),
});
export type StoreReply = z.infer<typeof storeReply>;

export const infoReply = z.object({
  version: z.string(),
  model: z.object({
    name: z.string().describe('The id under `model` in /v1/models.'),
    family: z.string(),
    file: z.string(),
    dtype: z.string(),
    key: z.string().nullable(),
    key_tensor: z.string(),
    key_dim: z.int().describe('d'),
    vocab_size: z.int().describe('V'),
    layers: z.int(),
    context_length: z.int(),
    bos: z.int(),
    eos: z.int(),
    chat: z.boolean().describe('Whether it has a chat template.'),
  }),
  stores: z.array(storeReply),
  limits: z.object({
    concurrency: z
      .int()
      .describe('Texts that are generated or scored at the same time; others wait in a queue.'),
    queue: z.int().describe('Requests that may wait.'),
    body_bytes: z.int(),
    prompt_tokens: z.int(),
    max_tokens: z.int(),
  }),
  writable: z.boolean().describe('Whether documents may be added and removed here.'),
});
export type InfoReply = z.infer<typeof infoReply>;

export const contribution = z.object({
  document: z.string(),
  store: z.string(),
  tokens: count.describe('Tokens for which one of its contexts voted.'),
  share: z
    .number()
    .describe('Sum over those tokens of its share of the probability of the token chosen.'),
});
export type Contribution = z.infer<typeof contribution>;

export const statisticsReply = z.object({
  uptime_seconds: z.number(),
  requests: z.object({
    total: count,
    active: count,
    waiting: count,
    rejected: count,
    failed: count,
  }),
  tokens: z.object({ prompt: count, generated: count, scored: count }),
  search: z.object({ queries: count, milliseconds: z.number() }),
  contributions: z
    .array(contribution)
    .describe('What documents gave to the tokens generated and scored lately, most first.'),
  recent_tokens: count.describe('Tokens that `contributions` speaks of.'),
});
export type StatisticsReply = z.infer<typeof statisticsReply>;
