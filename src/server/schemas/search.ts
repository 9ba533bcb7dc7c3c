/** POST /v1/knn/search: the next token after a context, and /v1/knn/map: where keys lie. */
import { z } from 'zod';
import {
  aroundField,
  candidate,
  contextFields,
  count,
  neighbor,
  retrievalShape,
  tokenId,
  usedSettings,
} from './common.ts';

export const searchRequest = z
  .strictObject({
    ...retrievalShape,
    ...contextFields,
    show: count.max(1024).optional().describe('Neighbors told with their text. Default 10.'),
    around: aroundField.describe('Tokens of text around each. Default 16.'),
    raw: z.boolean().optional().describe('Adds `raw`.'),
  })
  .describe('One of `context` and `token_ids`.');
export type SearchRequest = z.infer<typeof searchRequest>;

export const rawNeighbors = z
  .object({
    entries: z.array(z.int()).describe('(k) entry ids, nearest first.'),
    distances: z.array(z.number()).describe('(k) squared L2.'),
    targets: z.array(tokenId).describe('(k) token ids that followed.'),
    documents: z.array(z.int()).describe('(k) indexes into `document_ids`.'),
    positions: z.array(z.int()).describe("(k) which of the document's targets."),
    document_ids: z.array(z.string()),
    document_stores: z.array(z.string()).describe('Store of each of `document_ids`.'),
    candidates: z
      .array(z.object({ id: tokenId, text: z.string(), log_p_lm: z.number() }))
      .describe(
        "The model's 50 most probable tokens and every target, with log p_LM. Most probable first.",
      ),
    gate: z
      .object({
        lm: z.number(),
        temperatures: z.array(z.number()),
        weights: z.array(z.number()),
      })
      .nullable()
      .describe(
        "The gate's mixture for this query, when it weighs: share of the model, and one per temperature of `p_knn`.",
      ),
  })
  .describe(
    'All that is needed to mix again elsewhere. With weights w_i = softmax(-distances_i / T) over the first k, p_kNN(y) = Σ w_i [targets_i = y] and p(y) = λ p_kNN(y) + (1 - λ) p_LM(y).',
  );
export type RawNeighbors = z.infer<typeof rawNeighbors>;

export const searchReply = z.object({
  context: z
    .object({ token_ids: z.array(tokenId), pieces: z.array(z.string()) })
    .describe('The context as it was read, by tokens: joined they are the text.'),
  neighbors: z.array(neighbor).describe('Nearest first.'),
  candidates: z.array(candidate).describe('Most probable under the mixture first.'),
  settings: usedSettings,
  left_out: z
    .array(z.enum(['cache', 'pointers', 'adaptive']))
    .describe(
      'What the settings use wherever a text is read and this reply does not: it looks at the store alone, so that a text may give its token another probability.',
    ),
  raw: rawNeighbors.optional(),
  milliseconds: z.object({ model: z.number(), search: z.number() }),
});
export type SearchReply = z.infer<typeof searchReply>;

const MOST_SAMPLED = 5000;

export const mapQuery = z.strictObject({
  store: z.string().optional().describe('Default: the first.'),
  sample: z.coerce
    .number()
    .int()
    .min(1)
    .max(MOST_SAMPLED)
    .optional()
    .describe('Entries, evenly spaced. Default 2000.'),
});
export type MapQuery = z.infer<typeof mapQuery>;

export const mapReply = z
  .object({
    store: z.string(),
    x: z.array(z.number()).describe('(m)'),
    y: z.array(z.number()).describe('(m)'),
    entries: z.array(z.int()).describe('(m) counted in this store.'),
    targets: z.array(z.string()).describe('(m) text of the stored next token.'),
    target_ids: z.array(tokenId).describe('(m)'),
    documents: z.array(z.int()).describe('(m) indexes into `document_ids`.'),
    positions: z.array(z.int()).describe('(m)'),
    document_ids: z.array(z.string()),
    variance: z
      .array(z.number())
      .length(2)
      .describe("Share of the sample's variance on each axis."),
  })
  .describe('Keys of sampled entries on the plane of their first two principal components.');
export type MapReply = z.infer<typeof mapReply>;

export const projectRequest = z
  .strictObject({
    ...contextFields,
    store: z.string().optional(),
    sample: z.int().min(1).max(MOST_SAMPLED).optional(),
  })
  .describe('A context onto the plane of the map of the same store and sample.');
export type ProjectRequest = z.infer<typeof projectRequest>;

export const projectReply = z.object({ x: z.number(), y: z.number() });
export type ProjectReply = z.infer<typeof projectReply>;
