import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Refusal } from '../../dist/server/refusal.js';
import { Scheduler, type Turn } from '../../dist/server/scheduler.js';

const never = new AbortController().signal;

/** Asks for slots of a turn and notes its name when one is given. */
function queue(turn: Turn, name: string, order: string[], times = 1): Promise<() => void>[] {
  return Array.from({ length: times }, async () => {
    const release = await turn.slot(never);
    order.push(name);
    return release;
  });
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

/** Works one text after another off, as they are given slots. */
async function drain(slots: Promise<() => void>[]): Promise<void> {
  await Promise.all(slots.map((slot) => slot.then((release) => setImmediate(release))));
}

describe('slots', () => {
  it('are given at once as long as there are some, and then as they come back', async () => {
    const scheduler = new Scheduler({ slots: 2, queue: 10 });
    const order: string[] = [];
    const turns = ['a', 'b', 'c'].map((name) => scheduler.admit(name));
    const slots = turns.flatMap((turn, i) => queue(turn, 'abc'[i]!, order));
    await settle();
    expect(order).toEqual(['a', 'b']);
    expect([scheduler.active, scheduler.waiting]).toEqual([2, 1]);
    const release = await slots[0]!;
    release();
    release();
    await settle();
    expect(order).toEqual(['a', 'b', 'c']);
    for (const turn of turns) turn.end();
    expect([scheduler.active, scheduler.waiting]).toEqual([0, 0]);
  });

  it('go to clients in turn, however many requests one has', async () => {
    const scheduler = new Scheduler({ slots: 1, queue: 100 });
    const order: string[] = [];
    const greedy = Array.from({ length: 5 }, () => queue(scheduler.admit('a'), 'a', order)).flat();
    const modest = [
      ...queue(scheduler.admit('b'), 'b', order),
      ...queue(scheduler.admit('b'), 'b', order),
    ];
    const late = queue(scheduler.admit('c'), 'c', order);
    await drain([...greedy, ...modest, ...late]);
    expect(order.join('')).toBe('abcabaaa');
  });

  it('go to requests of a client in turn, however many texts one has', async () => {
    const scheduler = new Scheduler({ slots: 1, queue: 100 });
    const order: string[] = [];
    const batch = queue(scheduler.admit('a'), 'batch', order, 4);
    const single = queue(scheduler.admit('a'), 'single', order);
    await drain([...batch, ...single]);
    expect(order).toEqual(['batch', 'single', 'batch', 'batch', 'batch']);
  });

  it('are not lost and not given twice, whoever goes while waiting', async () => {
    const person = fc.record({ client: fc.constantFrom('a', 'b', 'c'), leaves: fc.boolean() });
    await fc.assert(
      fc.asyncProperty(
        fc.array(person, { maxLength: 30 }),
        fc.integer({ min: 1, max: 4 }),
        async (people, slots) => {
          const scheduler = new Scheduler({ slots, queue: 100, queuePerClient: 100 });
          let held = 0;
          const visits = people.map(async ({ client, leaves }) => {
            const turn = scheduler.admit(client);
            const abort = new AbortController();
            const slot = turn.slot(abort.signal);
            if (leaves) abort.abort(new Error('left'));
            try {
              const release = await slot;
              expect(++held).toBeLessThanOrEqual(slots);
              await settle();
              held--;
              release();
            } catch (error) {
              expect((error as Error).message).toBe('left');
            }
            turn.end();
          });
          await Promise.all(visits);
          expect([scheduler.active, scheduler.waiting, held]).toEqual([0, 0, 0]);
          const turn = scheduler.admit('last');
          const all = await Promise.all(Array.from({ length: slots }, () => turn.slot(never)));
          expect(all).toHaveLength(slots);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('a full queue', () => {
  const refusalOf = (ask: () => unknown): Refusal => {
    try {
      ask();
    } catch (error) {
      return error as Refusal;
    }
    throw new Error('It was let in.');
  };

  it('refuses with 503 and says when to come back; one client fills no more than half of it', async () => {
    const scheduler = new Scheduler({ slots: 1, queue: 4 });
    const order: string[] = [];
    queue(scheduler.admit('a'), 'a', order);
    for (let i = 0; i < 2; i++) queue(scheduler.admit('a'), 'a', order);
    const own = refusalOf(() => scheduler.admit('a'));
    expect([own.status, own.details.code]).toEqual([429, 'rate_limit_exceeded']);
    expect(own.details.retryAfter).toBeGreaterThanOrEqual(1);
    for (let i = 0; i < 2; i++) queue(scheduler.admit('b'), 'b', order);
    const full = refusalOf(() => scheduler.admit('c'));
    expect([full.status, full.response().headers.get('retry-after')]).toEqual([503, '1']);
  });
});
