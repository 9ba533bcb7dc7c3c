/**
 * Which document stands behind a generated token, as footnotes of a text.
 * A token belongs to the memory when the memory at least doubled its probability; its source is then the document whose
 * stored contexts voted for it. Spans of one document share one number.
 */
import type { GeneratedToken } from '../knnlm/generation-types.ts';
import type { Neighbor } from '../knnlm/types.ts';
import { memoryBits } from './palette.ts';

/** log2 of the factor from which on a token counts as the memory's. */
const DECISIVE_BITS = 1;

export interface Footnote {
  /** From 1, in order of first use. */
  number: number;
  document: string;
  /** Of the document, when several are open. */
  store?: string;
  /** Generated tokens that belong to it. */
  tokens: number;
  /** The longest stretch of the document that the text follows word for word. */
  passage: {
    position: number;
    before: string;
    target: string;
    after: string;
    length: number;
    /** Of a pair: what the document is the target of. */
    sourceText?: string;
  };
}

/** Consecutive entries of one document that consecutive tokens followed. */
interface Run {
  footnote: Footnote;
  first: Neighbor;
  last: Neighbor;
  target: string;
  length: number;
}

export class Footnotes {
  readonly #byDocument = new Map<string, Footnote>();
  #run: Run | undefined;

  /** In order of number. */
  get list(): Footnote[] {
    return [...this.#byDocument.values()];
  }

  /** @returns the footnote the token belongs to; undefined when the model would have said the same alone */
  add(token: GeneratedToken): Footnote | undefined {
    const votes = token.neighbors.filter(({ targetId }) => targetId === token.id);
    const next = this.#run && votes.find(({ entry }) => entry === this.#run!.last.entry + 1);
    if (next) return this.#extend(next);
    this.#run = undefined;
    const vote = this.#source(votes);
    if (!vote || memoryBits(token) < DECISIVE_BITS) return undefined;
    const footnote = this.#footnoteOf(vote);
    this.#run = { footnote, first: vote, last: vote, target: vote.target, length: 1 };
    return this.#keep(this.#run);
  }

  #extend(next: Neighbor): Footnote {
    const run = this.#run!;
    run.last = next;
    run.target += next.target;
    run.length++;
    return this.#keep(run);
  }

  #keep({ footnote, first, last, target, length }: Run): Footnote {
    footnote.tokens++;
    if (length > footnote.passage.length) {
      const { position, before, sourceText } = first;
      footnote.passage = {
        ...{ position, before, target, after: last.after, length },
        ...(sourceText !== undefined && { sourceText }),
      };
    }
    return footnote;
  }

  /**
   * The nearest vote of the document whose votes weigh most together. Sections often say the same; of those whose votes
   * weigh at least half as much, one that is a source already is taken, so that a text has few sources.
   */
  #source(votes: readonly Neighbor[]): Neighbor | undefined {
    const weights = new Map<string, number>();
    for (const vote of votes)
      weights.set(keyOf(vote), (weights.get(keyOf(vote)) ?? 0) + vote.weight);
    const ranked = [...weights].sort(([, a], [, b]) => b - a);
    const known = ranked.find(
      ([key, weight]) => this.#byDocument.has(key) && weight >= ranked[0]![1] / 2,
    );
    const key = (known ?? ranked[0])?.[0];
    return votes.find((vote) => keyOf(vote) === key);
  }

  #footnoteOf(source: Neighbor): Footnote {
    const { store, document } = source;
    const known = this.#byDocument.get(keyOf(source));
    if (known) return known;
    const number = this.#byDocument.size + 1;
    const passage = { position: 0, before: '', target: '', after: '', length: 0 };
    const footnote = { number, document, ...(store && { store }), tokens: 0, passage };
    this.#byDocument.set(keyOf(source), footnote);
    return footnote;
  }
}

/** One id may be in several stores. */
const keyOf = ({ store, document }: Neighbor): string => `${store ?? ''}\0${document}`;

/** 12 → ¹² */
export function superscript(number: number): string {
  return [...String(number)].map((digit) => '⁰¹²³⁴⁵⁶⁷⁸⁹'[Number(digit)]).join('');
}
