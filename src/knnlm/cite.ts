/** From an entry id back to its document: the text read before a stored context's target, and the text after it. */
import type { Tokenizer } from '../model/tokenizer.ts';
import type { Entries } from './entries.ts';
import type { Neighbor } from './types.ts';

export interface EntryHit {
  entry: number;
  /** Squared L2 distance. */
  distance: number;
  /** Share of the vote. */
  weight: number;
  /** Token id of the stored next token, where it is known already. */
  targetId?: number;
}

interface Sources {
  datastore: Entries;
  tokenizer: Tokenizer;
  /** Tokens of text on each side; with 0 nothing is read of a hit whose target is known. */
  around: number;
}

/** An entry's id is its provenance: the values of a document lie in order, so its neighbors in the file are its text. */
export async function citeEntries(
  hits: readonly EntryHit[],
  sources: Sources,
): Promise<Neighbor[]> {
  if (sources.around === 0 && hits.every(({ targetId }) => targetId !== undefined))
    return hits.map((hit) => cited(hit, sources, hit.targetId!));
  return Promise.all(hits.map((hit) => citeWithText(hit, sources)));
}

async function citeWithText(hit: EntryHit, sources: Sources): Promise<Neighbor> {
  const { datastore, tokenizer, around } = sources;
  const { document } = datastore.documents.locate(hit.entry);
  const start = Math.max(document.start, hit.entry - around);
  const end = Math.min(document.start + document.length, hit.entry + 1 + around);
  const tokens = await datastore.valueRange(start, end);
  const at = hit.entry - start;
  const before = tokenizer.decode(tokens.subarray(0, at), { continuing: start > document.start });
  const after = tokenizer.decode(tokens.subarray(at + 1), { continuing: true });
  return {
    ...cited(hit, sources, tokens[at]!),
    before: withoutBrokenEdges(before),
    after: withoutBrokenEdges(after),
  };
}

/** Without the text around it. */
function cited(
  { entry, distance, weight }: EntryHit,
  { datastore, tokenizer }: Sources,
  targetId: number,
): Neighbor {
  const { document, position, store } = datastore.documents.locate(entry);
  return {
    entry,
    ...(store !== undefined && { store }),
    document: document.id,
    position,
    distance,
    weight,
    target: tokenizer.tokenText(targetId),
    targetId,
    before: '',
    after: '',
    ...(document.sourceText !== undefined && { sourceText: document.sourceText }),
  };
}

/** A cut inside a character leaves U+FFFD at the edge of the text: not part of the document, so not shown. */
function withoutBrokenEdges(text: string): string {
  return text.replace(/^\uFFFD+|\uFFFD+$/g, '');
}
