/** The JSON beside exported arrays: which rows are which document's, and what made them. */
import { z } from 'zod';
import { KnnLMError } from '../../errors.ts';
import { readWhole } from '../files.ts';

const count = z.int().min(0);

const schema = z.object({
  format: z.literal('knnlm-documents'),
  version: z.literal(1),
  entries: count,
  dim: count,
  keyDtype: z.string(),
  valueDtype: z.string(),
  model: z.record(z.string(), z.unknown()),
  window: z.int().min(2),
  stride: z.int().min(1),
  documents: z.array(
    z.object({
      id: z.string(),
      source: z.string(),
      /** sha256 of the text */
      hash: z.string().regex(/^[0-9a-f]{64}$/),
      /** Row of its first entry. */
      start: count,
      length: z.int().min(1),
      metadata: z.record(z.string(), z.unknown()).optional(),
      /** Of a pair. */
      sourceText: z.string().optional(),
    }),
  ),
});

export type DocumentList = z.infer<typeof schema>;

/** Errors: `IO`; `INVALID_ARGUMENT` unless the documents cover the rows in order, without gap. */
export async function readDocumentList(path: string): Promise<DocumentList> {
  const refuse = (what: string) =>
    new KnnLMError('INVALID_ARGUMENT', `${path} is no list of documents: ${what}.`);
  let json: unknown;
  try {
    json = JSON.parse((await readWhole(path)).toString('utf8'));
  } catch (error) {
    if (error instanceof KnnLMError) throw error;
    throw refuse((error as Error).message);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const { path: at, message } = parsed.error.issues[0]!;
    throw refuse(`${at.join('.') || 'it'}: ${message}`);
  }
  let next = 0;
  for (const { id, start, length } of parsed.data.documents) {
    if (start !== next)
      throw refuse(`${id} begins in row ${start}, but the one before ends in ${next}`);
    next += length;
  }
  if (next !== parsed.data.entries)
    throw refuse(`its documents have ${next} rows, not ${parsed.data.entries}`);
  return parsed.data;
}
