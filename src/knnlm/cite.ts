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

/**
 * An entry's id is its provenance: the values of a document lie in order, so its neighbors in the file are its text.
 * @param around tokens of text on each side; with 0 nothing is read of a hit whose target is known
 */
export async function citeEntries(
  hits: readonly EntryHit[],
  { datastore, tokenizer, around }: { datastore: Entries; tokenizer: Tokenizer; around: number },
): Promise<Neighbor[]> {
  return Promise.all(
    hits.map(async ({ entry, distance, weight, ...known }) => {
      const { document, position, store } = datastore.documents.locate(entry);
      const start = Math.max(document.start, entry - around);
      const end = Math.min(document.start + document.length, entry + 1 + around);
      const isKnown = around === 0 && known.targetId !== undefined;
      const tokens = isKnown
        ? Uint32Array.of(known.targetId!)
        : await datastore.valueRange(start, end);
      const targetId = tokens[entry - start]!;
      return {
        entry,
        ...(store !== undefined && { store }),
        document: document.id,
        position,
        distance,
        weight,
        target: tokenizer.tokenText(targetId),
        targetId,
        before: withoutBrokenEdges(
          tokenizer.decode(tokens.subarray(0, entry - start), {
            continuing: start > document.start,
          }),
        ),
        after: withoutBrokenEdges(
          tokenizer.decode(tokens.subarray(entry - start + 1), { continuing: true }),
        ),
        ...(document.sourceText !== undefined && { sourceText: document.sourceText }),
      };
    }),
  );
}

/** A cut inside a character leaves U+FFFD at the edge of the text: not part of the document, so not shown. */
function withoutBrokenEdges(text: string): string {
  return text.replace(/^\uFFFD+|\uFFFD+$/g, '');
}
