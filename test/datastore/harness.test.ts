/** The benchmarks that kill and damage, in short: that they run, and find nothing. docs/results has their long runs. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

/** @returns the JSON of the last line */
async function bench(name: string, ...parameters: (string | number)[]) {
  const script = fileURLToPath(new URL(`../../bench/${name}`, import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    script,
    ...parameters.map(String),
  ]);
  return JSON.parse(stdout.trim().split('\n').at(-1)!);
}

it('loses nothing and brings nothing back when a process that changes a store is killed', async () => {
  const result = await bench('crash.js', 1, 1, 41);
  expect(result).toMatchObject({ lost: 0, back: 0, other: 0, notRecovered: 0 });
  expect(Object.keys(result.perChange).sort()).toEqual([
    'add',
    'compact',
    'index',
    'remove',
    'update',
  ]);
  expect(result.kills).toBeGreaterThanOrEqual(8);
});

it('loses nothing when a process that takes keys away is killed, or one that changes a store without them', async () => {
  const result = await bench('kill-keyless.js', 61);
  expect(result).toMatchObject({ wrong: 0, notRecovered: 0 });
  expect(Object.keys(result.perChange).sort()).toEqual(['code', 'compact', 'drop']);
});

it('refuses a damaged store or answers as if it were whole', async () => {
  const result = await bench('fuzz-store.js', 250, Math.floor(Math.random() * 2 ** 31));
  expect(result.wrong).toBe(0);
  expect(result.refused).toBeGreaterThan(125);
  expect(result.foundByVerify).toBeGreaterThan(5);
});
