import { describe, expect, it } from 'vitest';
import type { Retrieved } from '../../dist/knnlm/retriever.js';
import { SharedSearch, type SingleOptions } from '../../dist/knnlm/shared-search.js';

/** Finds k entries named after the query: 10 q, 10 q + 1, … Each search takes until `open` is called. */
class SlowIndex {
  readonly searches: { queries: number[]; options: SingleOptions }[] = [];
  readonly #gates: (() => void)[] = [];
  readonly shared = new SharedSearch(async (queries, options) => {
    this.searches.push({ queries: [...queries], options });
    await new Promise<void>((resolve) => this.#gates.push(resolve));
    if (queries.includes(Number.NaN)) throw new Error('not finite');
    const { k } = options;
    const ids = Int32Array.from(
      { length: queries.length * k },
      (_, i) => 10 * queries[Math.floor(i / k)]! + (i % k),
    );
    const found: Retrieved = {
      k,
      ids,
      distances: Float32Array.from(ids),
      values: Uint32Array.from(ids),
    };
    return found;
  });

  find = (query: number, options: Partial<SingleOptions> = {}): Promise<Retrieved> =>
    this.shared.find(Float32Array.of(query), { k: 2, ...options });

  /** Lets searches end as they come, until nothing has been started for a while. */
  async open(): Promise<void> {
    for (let quiet = 0; quiet < 20; quiet++) {
      if (this.#gates.length > 0) quiet = 0;
      for (const gate of this.#gates.splice(0)) gate();
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
}

const sizes = ({ searches }: SlowIndex): number[] => searches.map(({ queries }) => queries.length);

describe('queries of many at once', () => {
  it('are searched together when they come together, each with its own neighbors', async () => {
    const index = new SlowIndex();
    const found = Promise.all([3, 1, 2].map((query) => index.find(query)));
    await index.open();
    expect((await found).map(({ ids }) => [...ids])).toEqual([
      [30, 31],
      [10, 11],
      [20, 21],
    ]);
    expect((await found)[2]).toMatchObject({
      k: 2,
      distances: Float32Array.of(20, 21),
      values: Uint32Array.of(20, 21),
    });
    expect(sizes(index)).toEqual([3]);
  });

  it('wait for what is under way, and then go together, at most 32 of them', async () => {
    const index = new SlowIndex();
    const all: Promise<Retrieved>[] = [];
    for (let query = 0; query < 100; query++) {
      all.push(index.find(query));
      if (query < 3) await new Promise((resolve) => setImmediate(resolve));
    }
    await index.open();
    for (const [query, { ids }] of (await Promise.all(all)).entries())
      expect(ids[0]).toBe(10 * query);
    expect(sizes(index)).toEqual([1, 32, 32, 32, 3]);
  });

  it('go apart when they want other numbers, or leave out other entries', async () => {
    const index = new SlowIndex();
    const exclude = [[5, 9]] as const;
    const all = Promise.all([
      index.find(1),
      index.find(2, { k: 3 }),
      index.find(3, { exclude }),
      index.find(4, { exclude: [[5, 9]] }),
      index.find(5, { exclude, within: [[0, 3]] }),
      index.find(6),
      index.find(7, { k: 3 }),
      index.find(8, { effort: 0.5 }),
      index.find(9, { effort: 1 }),
    ]);
    await index.open();
    expect((await all).map(({ ids }) => ids.length)).toEqual([2, 3, 2, 2, 2, 2, 3, 2, 2]);
    const queries = index.searches.map((one) => one.queries);
    expect(queries).toEqual([[1, 6, 9], [2, 7], [3, 4], [5], [8]]);
    expect(index.searches[4]!.options.effort).toBe(0.5);
    expect(index.searches[2]!.options.exclude).toEqual(exclude);
    expect(index.searches[3]!.options.within).toEqual([[0, 3]]);
  });

  it('are not stopped by one that is', async () => {
    const index = new SlowIndex();
    const stop = new AbortController();
    const outcomes = Promise.allSettled([
      index.find(1, { signal: stop.signal }),
      index.find(2),
      index.find(3, { signal: AbortSignal.abort() }),
    ]);
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await index.open();
    const aborted = { status: 'rejected', reason: { code: 'ABORTED' } };
    expect(await outcomes).toMatchObject([aborted, { status: 'fulfilled' }, aborted]);
    expect(index.searches.map(({ queries }) => queries)).toEqual([[1, 2]]);
  });

  it('that fail together are tried alone, so that one fails for its own fault only', async () => {
    const index = new SlowIndex();
    const outcomes = Promise.allSettled([index.find(1), index.find(Number.NaN), index.find(2)]);
    await index.open();
    expect(await outcomes).toMatchObject([
      { status: 'fulfilled', value: { ids: Int32Array.of(10, 11) } },
      { status: 'rejected', reason: { message: 'not finite' } },
      { status: 'fulfilled', value: { ids: Int32Array.of(20, 21) } },
    ]);
    expect(sizes(index)).toEqual([3, 1, 1, 1]);
  });
});
