import { expect, it } from 'vitest';
import { Random } from '../../dist/math/random.js';
import { Contributions, type Gift, giftsOf } from '../../dist/server/contributions.js';

const RECENT = 10_000;

it('what documents gave is summed over the last ten thousand tokens', () => {
  const random = new Random(5);
  const contributions = new Contributions();
  const tokens: Gift[][] = [];
  const check = (): void => {
    const recent = tokens.slice(-RECENT);
    const sums = new Map<string, { tokens: number; share: number }>();
    for (const { store, document, share } of recent.flat()) {
      const sum = sums.get(`${store}/${document}`) ?? { tokens: 0, share: 0 };
      sums.set(`${store}/${document}`, { tokens: sum.tokens + 1, share: sum.share + share });
    }
    expect(contributions.tokens).toBe(recent.length);
    const listed = contributions.list(() => true, 1000);
    expect(listed).toHaveLength(sums.size);
    for (const { store, document, tokens, share } of listed) {
      const expected = sums.get(`${store}/${document}`)!;
      expect(tokens).toBe(expected.tokens);
      expect(share).toBeCloseTo(expected.share, 6);
      expect(contributions.of(store, document)).toEqual({ tokens, share });
    }
    const shares = listed.map(({ share }) => share);
    expect(shares).toEqual([...shares].sort((a, b) => b - a));
  };
  for (let token = 0; token < 35_000; token++) {
    // Of one half of the documents for a while, of the other later on.
    const first = token < 12_000 ? 0 : 20;
    const gifts = Array.from({ length: Math.floor(4 * random.uniform()) }, (_, i) => ({
      store: i % 2 === 0 ? 'a' : 'b',
      document: `${first + i + 4 * Math.floor(5 * random.uniform())}`,
      share: random.uniform(),
    }));
    tokens.push(gifts);
    contributions.add(gifts);
    if (token % 5000 === 777) check();
  }
  check();
  expect(contributions.of('a', '0')).toEqual({ tokens: 0, share: 0 });
  expect(contributions.list((_, document) => document === '20', 5)).toHaveLength(1);
});

it('a document gave its share of the vote, of the part of the probability that came from it', () => {
  const votes = [
    { store: 'a', document: 'x', weight: 0.2, agrees: true },
    { store: 'b', document: 'x', weight: 0.1, agrees: true },
    { store: 'a', document: 'y', weight: 0.4, agrees: false },
    { store: 'a', document: 'x', weight: 0.1, agrees: true },
  ];
  // λ = 0.5: p = 0.5 · 0.4 + 0.5 · 0.1
  const gifts = giftsOf({ p: 0.25, pLm: 0.1, pKnn: 0.4 }, votes);
  expect(gifts.map(({ store, document }) => `${store} ${document}`)).toEqual(['a x', 'b x']);
  expect(gifts[0]!.share).toBeCloseTo((0.8 * 0.3) / 0.4, 12);
  expect(gifts[1]!.share).toBeCloseTo((0.8 * 0.1) / 0.4, 12);
  expect(giftsOf({ p: 0, pLm: 0, pKnn: 0.4 }, votes)).toEqual([]);
});
