/** A line of documents.jsonl: what is written of a document, and how it is checked when read. */
import { KnnLMError } from '../errors.ts';
import type { DocumentRecord } from './types.ts';

/** `start` is not stored: it follows from the lengths before. */
export type StoredDocument = Omit<DocumentRecord, 'start'>;

/** `{"id":"","source":"","hash":"<64>","length":1}` and the newline. */
export const SHORTEST_LINE = 107;

export const documentLine = (document: StoredDocument): string => {
  const { id, source, hash, length, metadata, sourceText } = document;
  return `${JSON.stringify({ id, source, hash, length, metadata, sourceText })}\n`;
};

/** @param path, line for messages. Errors: `STORE_CORRUPT`. */
export function parseLine(path: string, line: number, text: string): StoredDocument {
  let value: Partial<StoredDocument> | null;
  try {
    value = JSON.parse(text) as Partial<StoredDocument> | null;
  } catch (cause) {
    throw corruptTable(path, `line ${line} is not JSON`, cause);
  }
  const { id, source, hash, length, metadata, sourceText } = value ?? {};
  const fits =
    typeof id === 'string' &&
    typeof source === 'string' &&
    typeof hash === 'string' &&
    /^[0-9a-f]{64}$/.test(hash) &&
    Number.isSafeInteger(length) &&
    length! > 0 &&
    (sourceText === undefined || typeof sourceText === 'string') &&
    (metadata === undefined ||
      (typeof metadata === 'object' && metadata !== null && !Array.isArray(metadata)));
  if (!fits) throw corruptTable(path, `line ${line} is not a document record`);
  return value as StoredDocument;
}

export function corruptTable(path: string, problem: string, cause?: unknown): KnnLMError {
  return new KnnLMError(
    'STORE_CORRUPT',
    `${path} is damaged: ${problem}. Restore it from a backup or build the datastore again.`,
    { cause },
  );
}
