/** Which documents a text drew on: words in a row that one document supports become a span, a document a footnote. */
import type { KnnToken, Neighbor } from '../../../src/server/wire.ts';
import { memoryShare } from './mixture.ts';

/**
 * Changing the document costs this much of a token's probability, so that one stray word does not break a span, and a
 * word alone has a footnote only when most of it came from one document.
 */
export const SWITCH_COST = 0.3;
/** What having no source at all is worth: a document must give more than this share to be named. */
export const UNSOURCED = 0.12;

export interface Span {
  /** First token and the one after the last. */
  from: number;
  to: number;
  /** Footnote number from 1; 0 is text without a source. */
  note: number;
}

export interface Source {
  note: number;
  document: string;
  store: string;
  /** Tokens of its spans. */
  tokens: number[];
  /** Mean share of those tokens' probability that its contexts gave. */
  share: number;
  /** Its strongest context. */
  best: Neighbor;
}

/** (T) per token the share of its probability that each document gave, from the neighbors told. */
export function documentShares(tokens: readonly KnnToken[]): Map<string, number>[] {
  return tokens.map((token) => {
    const shares = new Map<string, number>();
    if (token.p_knn <= 0) return shares;
    const memory = memoryShare(token);
    for (const { document, target_id, weight } of token.neighbors ?? []) {
      if (target_id !== token.id) continue;
      const share = (memory * weight) / token.p_knn;
      shares.set(document, (shares.get(document) ?? 0) + share);
    }
    return shares;
  });
}

/** Characters of scripts that put no spaces between words. */
const UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]/u;

/** (T) whether a token begins a word; what follows without a space, such as a comma, belongs to the word before. */
export function wordStarts(tokens: readonly { text: string }[]): boolean[] {
  return tokens.map(
    ({ text }, t) =>
      t === 0 || /^\s/.test(text) || /\s$/.test(tokens[t - 1]!.text) || UNSPACED.test(text),
  );
}

/**
 * The most plausible document of each token (or none): dynamic programming over shares less the cost of switching, which
 * happens between words only.
 * @param starts (T) whether a token begins a word. Default: every one does.
 */
export function assignDocuments(
  shares: readonly ReadonlyMap<string, number>[],
  starts?: readonly boolean[],
): (string | null)[] {
  const documents: (string | null)[] = [null, ...new Set(shares.flatMap((row) => [...row.keys()]))];
  let values = documents.map(() => 0);
  const from: Int32Array[] = [];
  for (const [t, row] of shares.entries()) {
    const isStart = starts?.[t] ?? true;
    let best = 0;
    for (let d = 1; d < values.length; d++) if (values[d]! > values[best]!) best = d;
    const step = new Int32Array(documents.length);
    values = documents.map((document, d) => {
      const isStaying = !isStart || values[d]! >= values[best]! - SWITCH_COST;
      step[d] = isStaying ? d : best;
      const before = isStaying ? values[d]! : values[best]! - SWITCH_COST;
      return before + (document === null ? UNSOURCED : (row.get(document) ?? 0));
    });
    from.push(step);
  }
  let at = values.indexOf(Math.max(...values));
  const chosen = new Array<string | null>(shares.length);
  for (let t = shares.length - 1; t >= 0; t--) {
    chosen[t] = documents[at]!;
    at = from[t]![at]!;
  }
  return chosen;
}

/** Spans that cover all tokens, and the sources in the order in which the text first draws on them. */
export function sourcesOf(tokens: readonly KnnToken[]): { spans: Span[]; sources: Source[] } {
  const shares = documentShares(tokens);
  const documents = assignDocuments(shares, wordStarts(tokens));
  const spans: Span[] = [];
  const sources: Source[] = [];
  const notes = new Map<string, Source>();
  for (let t = 0; t < tokens.length; t++) {
    const document = documents[t]!;
    if (document !== null) {
      const source = notes.get(document) ?? addSource(document, tokens, sources, notes);
      source.tokens.push(t);
      source.share += shares[t]!.get(document) ?? 0;
    }
    const note = document === null ? 0 : notes.get(document)!.note;
    const last = spans.at(-1);
    if (last?.note === note) last.to = t + 1;
    else spans.push({ from: t, to: t + 1, note });
  }
  for (const source of sources) source.share /= source.tokens.length;
  return { spans, sources };
}

/** How well a context shows what the document gave: by its weight, and a word says more than a comma or an `of`. */
function telling({ weight, target }: Neighbor): number {
  return weight * Math.min(6, target.trim().length);
}

function addSource(
  document: string,
  tokens: readonly KnnToken[],
  sources: Source[],
  notes: Map<string, Source>,
): Source {
  let best: Neighbor | undefined;
  for (const token of tokens) {
    for (const neighbor of token.neighbors ?? []) {
      if (neighbor.document !== document || neighbor.target_id !== token.id) continue;
      if (!best || telling(neighbor) > telling(best)) best = neighbor;
    }
  }
  const source = {
    note: sources.length + 1,
    document,
    store: best!.store,
    tokens: [],
    share: 0,
    best: best!,
  };
  sources.push(source);
  notes.set(document, source);
  return source;
}
