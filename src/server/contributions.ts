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
  /** A ring: how many gifts each of the last tokens had. */
  readonly #gifts = new Uint16Array(RECENT);
  #next = 0;
  #tokens = 0;
  /** Of all those gifts, the oldest first, from `#oldest` on: which total they are part of, and their shares. */
  readonly #givers: Total[] = [];
  readonly #shares: number[] = [];
  #oldest = 0;
  /** By store, then by document. */
  readonly #totals = new Map<string, Map<string, Total>>();

  /** Tokens that are remembered. */
  get tokens(): number {
    return this.#tokens;
  }

  add(gifts: readonly Gift[]): void {
    if (this.#tokens < RECENT) this.#tokens++;
    else this.#forget(this.#gifts[this.#next]!);
    for (const { store, document, share } of gifts) {
      const total = this.#totalOf(store, document);
      total.tokens++;
      total.share += share;
      this.#givers.push(total);
      this.#shares.push(share);
    }
    this.#gifts[this.#next] = gifts.length;
    this.#next = (this.#next + 1) % RECENT;
  }

  /** The oldest gifts. */
  #forget(count: number): void {
    for (const end = this.#oldest + count; this.#oldest < end; this.#oldest++) {
      const total = this.#givers[this.#oldest]!;
      total.tokens--;
      total.share -= this.#shares[this.#oldest]!;
      if (total.tokens === 0) this.#totals.get(total.store)!.delete(total.document);
    }
    // Seldom, since what stays is moved.
    if (2 * this.#oldest < this.#givers.length || this.#oldest < RECENT) return;
    this.#givers.splice(0, this.#oldest);
    this.#shares.splice(0, this.#oldest);
    this.#oldest = 0;
  }

  #totalOf(store: string, document: string): Total {
    let ofStore = this.#totals.get(store);
    if (!ofStore) this.#totals.set(store, (ofStore = new Map()));
    let total = ofStore.get(document);
    if (!total) ofStore.set(document, (total = { store, document, tokens: 0, share: 0 }));
    return total;
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
