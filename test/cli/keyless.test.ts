/** `--drop-keys`, as it ships: a store of codes alone, built, added to and searched. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, it } from 'vitest';
import { datastoreInfo } from '../../dist/index.js';

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const main = path('dist/cli/main.js');
const stories = path('test/fixtures/golden/tinystories.train.jsonl');
const more = path('test/fixtures/golden/tinystories.valid.jsonl');
const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-keyless-'));
const store = join(folder, 'store');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function knnlm(...parameters: string[]) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    execFile(process.execPath, [main, ...parameters], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

async function json(...parameters: string[]) {
  const { code, stdout, stderr } = await knnlm(...parameters, '--json');
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

const keyFiles = () =>
  (readdirSync(store, { recursive: true }) as string[]).filter((name) => /keys\.f/.test(name));

it('builds a store without keys, tuned with the distances of its codes, that goes on like any other', async () => {
  const texts = join(folder, 'texts.jsonl');
  writeFileSync(texts, readFileSync(stories, 'utf8').split('\n').slice(0, 6).join('\n'));
  const model = path('test/fixtures/models/stories260K');
  const build = ['build', texts, '--model', model, '--out', store, '--drop-keys'];
  const refused = await knnlm(...build, '--index', 'none');
  expect([refused.code, refused.stderr]).toEqual([2, expect.stringMatching(/index none/)]);
  const built = await json(...build);
  expect(built.index).toMatchObject({ codes: 'pq32' });
  expect(keyFiles()).toEqual([]);
  const info = await datastoreInfo(store);
  expect(info).toMatchObject({
    hasKeys: false,
    complete: true,
    settings: { source: 'self-tuned' },
  });
  expect(info.bytes.total).toBe(built.bytes);

  await json('add', store, more);
  expect(keyFiles()).toHaveLength(2);
  const again = await knnlm('index', store);
  expect([again.code, again.stderr]).toEqual([2, expect.stringMatching(/--drop-keys/)]);
  const coded = await json('index', store, '--drop-keys');
  expect(coded.keyBytes).toBeGreaterThan(0);
  expect(coded.retuned.k).toBeGreaterThan(0);
  expect(keyFiles()).toEqual([]);
  expect((await json('search', store, 'Once upon a time')).neighbors).toHaveLength(10);
});
