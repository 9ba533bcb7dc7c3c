/** Which documents stood behind the tokens generated and scored lately: what the inspector and statistics tell of use. */

/** Tokens remembered. */
const RECENT = 10_000;

/** A neighbor that voted for the token chosen, or for another. */
export interface Vote {
  store: string;
  document: string;
  weight: number;
  agrees: boolean;
}

export interface Gift {
  store: string;
  document: string;
  /** Of the token's probability, 0 to 1. */
  share: number;
}

/** Sums over recent tokens, by store and document. */
interface Total {
  store: string;
  document: string;
  tokens: number;
  share: number;
}

export class Contributions {
  /** A ring: what was given to each of the last tokens. */
  readonly #tokens: Gift[][] = [];
  #next = 0;
  /** By store, then by document. */
  readonly #totals = new Map<string, Map<string, Total>>();

  /** Tokens that are remembered. */
  get tokens(): number {
    return this.#tokens.length;
  }

  add(gifts: Gift[]): void {
    for (const gift of this.#tokens[this.#next] ?? []) this.#count(gift, -1);
    for (const gift of gifts) this.#count(gift, 1);
    this.#tokens[this.#next] = gifts;
    this.#next = (this.#next + 1) % RECENT;
  }

  #count({ store, document, share }: Gift, times: 1 | -1): void {
    const ofStore = this.#totals.get(store) ?? new Map<string, Total>();
    this.#totals.set(store, ofStore);
    const total = ofStore.get(document) ?? { store, document, tokens: 0, share: 0 };
    total.tokens += times;
    total.share += times * share;
    if (total.tokens <= 0) ofStore.delete(document);
    else ofStore.set(document, total);
  }

  of(store: string, document: string): { tokens: number; share: number } {
    const { tokens, share } = this.#totals.get(store)?.get(document) ?? { tokens: 0, share: 0 };
    return { tokens, share: Math.max(0, share) };
  }

  /** Most first. @param isStored a document that was removed is not told of */
  list(isStored: (store: string, document: string) => boolean, most: number): Total[] {
    return [...this.#totals.values()]
      .flatMap((ofStore) => [...ofStore.values()])
      .filter(({ store, document }) => isStored(store, document))
      .sort((a, b) => b.share - a.share)
      .slice(0, most)
      .map((total) => ({ ...total, share: Math.max(0, total.share) }));
  }
}

/**
 * What each document gave to a token: its share of the vote, of the part of the probability that came from the vote. That
 * part is λ p_kNN / p with λ = (p - p_LM) / (p_kNN - p_LM), which holds for a gate too.
 */
export function giftsOf(
  { p, pLm, pKnn }: { p: number; pLm: number; pKnn: number },
  votes: readonly Vote[],
): Gift[] {
  if (p <= 0 || pKnn <= 0) return [];
  const moved = pKnn - pLm;
  const lambda = Math.abs(moved) < 1e-12 ? 0 : Math.min(1, Math.max(0, (p - pLm) / moved));
  const memory = Math.min(1, (lambda * pKnn) / p);
  const gifts: Gift[] = [];
  for (const { store, document, weight, agrees } of votes) {
    if (!agrees) continue;
    const share = (memory * weight) / pKnn;
    // Of few documents: to look at each is quicker than a table for every token.
    const gift = gifts.find((one) => one.document === document && one.store === store);
    if (gift) gift.share += share;
    else gifts.push({ store, document, share });
  }
  return gifts;
}
