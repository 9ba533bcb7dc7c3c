/**
 * Documents of one kind, split by document: those stored, those tuned on and those reported on. The order is that of a hash
 * of the ids: the same on every machine, and any first part of it is a fair sample.
 */
import { createHash } from 'node:crypto';
import { readDocuments } from '../datastore/sources/read-documents.ts';
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { TextInputs } from './types.ts';

/** Without held-out text one document in so many is held out. */
const HELD_OUT_EVERY = 6;

export interface Corpus {
  /** What a store is made of, in an order by hash. */
  stored: SourceDocument[];
  /** k, λ and T are chosen on these, */
  tuning: SourceDocument[];
  /** and what is reported is measured on these. */
  reporting: SourceDocument[];
  /** sha256 over ids and texts. */
  hash: string;
}

/**
 * @param storedBytes UTF-16 units of text stored at most; whole documents
 * Errors: `NO_DOCUMENTS` when there are too few to split, those of `readDocuments`.
 */
export async function readCorpus(
  inputs: TextInputs,
  { storedBytes, signal }: { storedBytes: number; signal?: AbortSignal },
): Promise<Corpus> {
  const documents = await readAll(inputs.documents, signal);
  const given = inputs.heldOut && (await readAll(inputs.heldOut, signal));
  const every = given ? Number.POSITIVE_INFINITY : HELD_OUT_EVERY;
  const isHeldOut = (i: number): boolean => i % every === every - 1;
  const heldOut = given ?? documents.filter((_, i) => isHeldOut(i));
  const stored = upTo(storedBytes, given ? documents : documents.filter((_, i) => !isHeldOut(i)));
  if (heldOut.length < 2 || stored.length === 0) {
    throw new KnnLMError(
      'NO_DOCUMENTS',
      `An experiment needs two held-out documents, one to tune on and one to report on, but there are ${heldOut.length} ` +
        `(of ${documents.length} documents in all). Give more documents, or text to score with --held-out.`,
    );
  }
  return {
    stored,
    tuning: heldOut.filter((_, i) => i % 2 === 0),
    reporting: heldOut.filter((_, i) => i % 2 === 1),
    hash: digest([stored, heldOut].flatMap((part) => part.map(({ id, hash }) => `${id}\0${hash}`))),
  };
}

/** A document with the sha256 of its text. */
interface HashedDocument extends SourceDocument {
  hash: string;
}

async function readAll(inputs: readonly string[], signal?: AbortSignal): Promise<HashedDocument[]> {
  const documents: { order: string; document: HashedDocument }[] = [];
  for await (const { id, text, source, hash } of readDocuments(inputs, { signal })) {
    documents.push({ order: digest([id, hash]), document: { id, text, source, hash } });
  }
  documents.sort((a, b) => (a.order < b.order ? -1 : 1));
  return documents.map(({ document }) => document);
}

function upTo(bytes: number, documents: readonly HashedDocument[]): HashedDocument[] {
  const taken: HashedDocument[] = [];
  let held = 0;
  for (const document of documents) {
    if (taken.length > 0 && held + document.text.length > bytes) continue;
    taken.push(document);
    held += document.text.length;
  }
  return taken;
}

/** sha256 in hex of strings, each ended by a zero byte. */
export function digest(parts: readonly string[]): string {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part}\0`);
  return hash.digest('hex');
}
