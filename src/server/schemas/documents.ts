/** /v1/knn/documents: what is stored, and changing it. */
import { z } from 'zod';
import { count, errorReply, tokenId } from './common.ts';

export const documentReply = z.object({
  id: z.string(),
  store: z.string(),
  source: z.string(),
  entries: count.describe('Tokens and the end: what it takes in the store.'),
  metadata: z.record(z.string(), z.unknown()).nullable(),
  contribution: z
    .object({ tokens: count, share: z.number() })
    .describe('Lately, as in statistics.'),
});
export type DocumentReply = z.infer<typeof documentReply>;

/** A whole number in a query string, in digits: nothing at all, which `Number` reads as 0, is none. */
const numberField = (most: number, text: string) =>
  z
    .preprocess(
      (value) => (/^\d+$/.test(String(value)) ? Number(value) : value),
      z.number().int().min(0).max(most),
    )
    .optional()
    .describe(text);

/** Documents told at once, and tokens of one. */
const MOST_DOCUMENTS = 1000;
export const MOST_PIECES = 4096;

export const documentsQuery = z.strictObject({
  query: z.string().max(1024).optional().describe('A part of the id or source, any case.'),
  store: z.string().optional(),
  offset: numberField(Number.MAX_SAFE_INTEGER, 'Documents passed over. Default 0.'),
  limit: numberField(MOST_DOCUMENTS, 'Documents told. Default 100.'),
});
export type DocumentsQuery = z.infer<typeof documentsQuery>;

export const documentsReply = z.object({
  documents: z.array(documentReply),
  total: count.describe('That match in all.'),
  offset: count,
});
export type DocumentsReply = z.infer<typeof documentsReply>;

export const documentTextQuery = z.strictObject({
  store: z.string().optional().describe('Default: the first that has such a document.'),
  position: numberField(2 ** 31, 'Read around this token; with `around`.'),
  around: numberField(MOST_PIECES / 2, 'Tokens on each side. Default 256.'),
  from: numberField(2 ** 31, 'Read from this token on; with `limit`. Default 0.'),
  limit: numberField(MOST_PIECES, 'Tokens told. Default 1024.'),
});
export type DocumentTextQuery = z.infer<typeof documentTextQuery>;

export const documentTextReply = z.object({
  document: documentReply,
  from: count.describe('Token position of the first piece.'),
  pieces: z
    .array(z.string())
    .describe(
      '(T) the text by tokens; joined they are the text. The end-of-text entry is an empty string.',
    ),
  token_ids: z.array(tokenId).describe('(T)'),
  total: count.describe('Positions in the whole document.'),
});
export type DocumentTextReply = z.infer<typeof documentTextReply>;

export const addDocumentRequest = z.strictObject({
  id: z.string().min(1).max(1024),
  text: z.string(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  store: z.string().optional().describe('Name of the store. Needed when several are served.'),
  replace: z
    .boolean()
    .optional()
    .describe('Whether a document of the same id is replaced. Default false: that is an error.'),
  stream: z.boolean().optional().describe('Progress as server-sent events; then `data: [DONE]`.'),
});
export type AddDocumentRequest = z.infer<typeof addDocumentRequest>;

export const addedReply = z.object({
  id: z.string(),
  store: z.string(),
  entries: count.describe('Of this document. 0 when an equal text was stored already.'),
  replaced: z.boolean(),
  seconds: z.number(),
  stored: z
    .object({ documents: count, entries: count, bytes: count })
    .describe('The store afterwards.'),
});
export type AddedReply = z.infer<typeof addedReply>;

export const addDocumentEvent = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('progress'),
    phase: z.string(),
    done: count,
    total: count.nullable(),
    unit: z.string(),
    entries: count.nullable(),
  }),
  z.object({ type: z.literal('added'), ...addedReply.shape }),
  z.object({ type: z.literal('error'), ...errorReply.shape }),
]);
export type AddDocumentEvent = z.infer<typeof addDocumentEvent>;

export const storeQuery = z.strictObject({ store: z.string().optional() });

export const removedReply = z.object({
  id: z.string(),
  store: z.string(),
  entries: count,
  seconds: z.number(),
});
export type RemovedReply = z.infer<typeof removedReply>;
