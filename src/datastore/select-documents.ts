/** Which documents a user means: by id, by a pattern over ids, by metadata, by the hash of the text. */
import picomatch from 'picomatch';
import { KnnLMError } from '../errors.ts';
import type { DocumentTable } from './document-table.ts';
import type { DocumentRecord } from './types.ts';

/** A document is meant when it meets every criterion given; at least one must be. */
export interface DocumentSelection {
  /** One of these ids. Each must be stored. */
  ids?: readonly string[];
  /** The id matches one of these patterns: `*` within a path's part, `**` across, `?`, `[ab]`, `{a,b}`. */
  globs?: readonly string[];
  /** Every field named has this value: the same text, or the same JSON (`3`, `true`); of a list, one of its elements. */
  metadata?: Readonly<Record<string, string>>;
  /** The sha256 of the text, in hex, is one of these. */
  hashes?: readonly string[];
}

/** In entry order. Errors: `INVALID_ARGUMENT` for an empty selection, an unknown id, or when nothing matches. */
export function selectDocuments(
  table: DocumentTable,
  selection: DocumentSelection,
): DocumentRecord[] {
  const { ids = [], globs = [], metadata = {}, hashes = [] } = selection;
  if (ids.length + globs.length + hashes.length + Object.keys(metadata).length === 0)
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'No documents were named. Give ids, a pattern, metadata or a hash.',
    );
  checkHashes(hashes);
  const named = ids.length > 0 ? findAll(table, ids) : table;
  const matchesGlob = globs.length > 0 ? picomatch(globs, { dot: true }) : undefined;
  const wantedHashes = hashes.length > 0 ? new Set(hashes.map((h) => h.toLowerCase())) : undefined;
  const found: DocumentRecord[] = [];
  for (const document of named) {
    if (matchesGlob && !matchesGlob(document.id)) continue;
    if (wantedHashes && !wantedHashes.has(document.hash)) continue;
    if (hasMetadata(document, metadata)) found.push(document);
  }
  if (found.length > 0) return found.sort((a, b) => a.start - b.start);
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `No document matches ${JSON.stringify(selection)}. List what is there: knnlm info STORE --documents`,
  );
}

function findAll(table: DocumentTable, ids: readonly string[]): DocumentRecord[] {
  return [...new Set(ids)].map((id) => {
    const document = table.find(id);
    if (document) return document;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The datastore holds no document ${JSON.stringify(id)}. List what is there: knnlm info STORE --documents`,
    );
  });
}

function checkHashes(hashes: readonly string[]): void {
  const wrong = hashes.find((hash) => !/^[0-9a-f]{64}$/i.test(hash));
  if (wrong === undefined) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `A hash is the sha256 of a document's text, 64 hexadecimal digits, not ${JSON.stringify(wrong)}.`,
  );
}

function hasMetadata(
  { metadata }: DocumentRecord,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(([field, value]) => {
    const stored = metadata && Object.hasOwn(metadata, field) ? metadata[field] : undefined;
    return stored !== undefined && [stored].flat().some((one) => isValue(one, value));
  });
}

const isValue = (stored: unknown, value: string): boolean =>
  typeof stored === 'string' ? stored === value : JSON.stringify(stored) === value;
