import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';

const module = new URL('../../dist/server/heap-room.js', import.meta.url).href;

/** How many times what is live V8 lets a heap of so many objects become, by its own word. */
function growth(objects: number, prepare: string): number {
  const script = `
    import { giveHeapRoom } from '${module}';
    const kept = Array.from({ length: ${objects} }, (_, i) => ({ i, text: [i] }));
    gc();
    ${prepare}
    gc();
    console.log(kept.length);`;
  const flags = ['--expose-gc', '--trace-gc-verbose', '--input-type=module'];
  const told = String(execFileSync(process.execPath, [...flags, '-e', script]));
  // Node 20 and 22 say it with the limit, Node 24 and later before it.
  return Number([...told.matchAll(/(?:new limit: \d+ KB \(|factor )(\d+\.\d+)/g)].at(-1)![1]);
}

it('a small heap may grow to five times what it holds; one that is large stays as it is', () => {
  expect(growth(200_000, '')).toBeLessThan(5);
  expect(growth(200_000, 'giveHeapRoom();')).toBe(5);
  expect(growth(2_000_000, 'giveHeapRoom();')).toBe(growth(2_000_000, ''));
});
