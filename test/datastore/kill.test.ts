import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import { verifyDatastore } from '../../dist/datastore/verify-datastore.js';
import { contents, temporaryFolder } from './support.ts';

const script = fileURLToPath(new URL('./build-child.js', import.meta.url));

/** Runs the build; with `afterMs` it is killed that long after it has opened the store. @returns how it ended */
function run(path: string, kill: { afterMs?: number; atOperation?: number } = {}) {
  const args = kill.atOperation === undefined ? [] : [String(kill.atOperation)];
  const child = spawn(process.execPath, [script, path, ...args]);
  let errors = '';
  child.stderr.on('data', (text) => {
    errors += text;
  });
  let opened = 0;
  child.stdout.once('data', () => {
    opened = performance.now();
    if (kill.afterMs !== undefined) setTimeout(() => child.kill('SIGKILL'), kill.afterMs);
  });
  return new Promise<{ killed: boolean; ms: number }>((resolve, reject) => {
    child.once('exit', (code, signal) => {
      if (code) reject(new Error(errors));
      else resolve({ killed: signal === 'SIGKILL', ms: performance.now() - opened });
    });
  });
}

it('gives the same bytes after kill -9 at any moment, and never a store that cannot be read', async () => {
  const folder = temporaryFolder();
  const { ms } = await run(join(folder, 'whole'));
  const whole = contents(join(folder, 'whole'));
  let killed = 0;
  // Between any two file operations of the start, the middle and the end; and at any time, inside a write too.
  const operations = [0, 1, 2, 5, 9, 14, 26, 61, 122, 187];
  const kills = [
    ...operations.map((atOperation) => ({ atOperation })),
    ...Array.from({ length: 10 }, () => ({ afterMs: Math.random() * ms * 0.7 })),
  ];
  let store = 0;
  for (const kill of kills) {
    const path = join(folder, `store-${store}`);
    if ((await run(path, kill)).killed) killed++;
    const seen = await Datastore.open(path).catch((error: unknown) => error);
    if (seen instanceof Datastore && seen.complete) {
      // Killed after its last word, it leaves the lock, which is no part of the store.
      const { lock: _, ...files } = contents(path);
      expect(files).toEqual(whole);
      store++;
      continue;
    }
    if (seen instanceof Datastore) expect((await verifyDatastore(path)).problems).toEqual([]);
    else expect(seen).toMatchObject({ code: 'STORE_NOT_FOUND' });
  }
  expect(killed).toBeGreaterThan(10);
  const path = join(folder, `store-${store}`);
  await run(path);
  expect(contents(path)).toEqual(whole);
});
