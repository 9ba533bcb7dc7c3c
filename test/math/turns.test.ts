import { expect, it } from 'vitest';
import { Turns } from '../../dist/math/turns.js';

const busy = (ms: number): void => {
  const until = performance.now() + ms;
  while (performance.now() < until);
};

it('what comes in a heap is done in order, and the event loop goes round meanwhile', async () => {
  const turns = new Turns();
  let rounds = 0;
  let isDone = false;
  const round = (): void => {
    rounds++;
    if (!isDone) setImmediate(round);
  };
  setImmediate(round);
  const order: number[] = [];
  await Promise.all(
    Array.from({ length: 12 }, async (_, i) => {
      await turns.take();
      await undefined;
      busy(2);
      order.push(i);
    }),
  );
  isDone = true;
  expect(order).toEqual([...order.keys()]);
  // Three turns of 2 ms use up a slice.
  expect(rounds).toBeGreaterThanOrEqual(3);
});

it('a lone taker goes on before the event loop does anything else, time and again', async () => {
  const turns = new Turns();
  for (let round = 0; round < 3; round++) {
    let hasGoneRound = false;
    setImmediate(() => (hasGoneRound = true));
    await turns.take();
    expect(hasGoneRound).toBe(false);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
});
