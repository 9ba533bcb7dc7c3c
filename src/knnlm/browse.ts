/** Looking through what is stored: documents by a part of their names, and their text token by token. */
import type { DocumentRecord } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { Tokenizer } from '../model/tokenizer.ts';
import type { OpenStore } from './open-stores.ts';

export interface FoundDocument extends DocumentRecord {
  /** Name of its datastore. */
  store: string;
}

export interface FindDocumentsOptions {
  /** A part of the id or the source, upper or lower case. Default: all documents. */
  query?: string;
  /** Documents passed over. Default 0. */
  offset?: number;
  /** Documents told. Default 100. */
  limit?: number;
}

/** In entry order. @returns some of those that match, and how many match in all */
export async function findDocuments(
  stores: readonly OpenStore[],
  { query = '', offset = 0, limit = 100 }: FindDocumentsOptions = {},
): Promise<{ documents: FoundDocument[]; total: number }> {
  const wanted = query.toLowerCase();
  const breather = new Breather();
  const documents: FoundDocument[] = [];
  let total = 0;
  for (const { name, datastore } of stores) {
    for (const row of datastore.documents.liveRows()) {
      await breather.pause();
      const isTold = total >= offset && documents.length < limit;
      // Without a query only what is told is read.
      if (wanted === '' && !isTold) {
        total++;
        continue;
      }
      const document = datastore.documents.at(row);
      if (wanted !== '' && !matches(document, wanted)) continue;
      total++;
      if (isTold) documents.push({ ...document, store: name });
    }
  }
  return { documents, total };
}

const matches = ({ id, source }: DocumentRecord, wanted: string): boolean =>
  id.toLowerCase().includes(wanted) || source.toLowerCase().includes(wanted);

export interface DocumentText {
  document: FoundDocument;
  /** Token position of the first piece. */
  from: number;
  /** (T) token ids, the end of text among them. */
  ids: Uint32Array;
  /** (T) the text by tokens; joined they are the text. Empty for the end of text. */
  pieces: string[];
}

/**
 * A part of a document's text as it is stored, that is by its tokens.
 * @param options.limit tokens at most
 * Errors: `INVALID_ARGUMENT` when none of the datastores has the document.
 */
export async function readDocument(
  stores: readonly OpenStore[],
  id: string,
  { tokenizer, from, limit }: { tokenizer: Tokenizer; from: number; limit: number },
): Promise<DocumentText> {
  for (const { name, datastore } of stores) {
    const document = datastore.documents.find(id);
    if (!document) continue;
    const first = Math.max(0, Math.min(from, document.length));
    const end = Math.min(document.length, first + limit);
    const ids = await datastore.valueRange(document.start + first, document.start + end);
    const stream = tokenizer.stream({ continuing: first > 0 });
    const pieces = Array.from(ids, (token) => stream.push(token));
    if (pieces.length > 0) pieces[pieces.length - 1] += stream.end();
    return { document: { ...document, store: name }, from: first, ids, pieces };
  }
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `The datastore holds no document ${JSON.stringify(id)}.`,
  );
}
