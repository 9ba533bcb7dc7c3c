/** The commands that change a store, as they ship. One small store of the bundled model's smallest relative. */
import { execFile } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const model = fileURLToPath(new URL('../fixtures/models/stories260K', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-changes-'));
const built = join(folder, 'built');
const store = join(folder, 'store');

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

function file(name: string, documents: Record<string, unknown>[]): string {
  const path = join(folder, name);
  writeFileSync(path, documents.map((document) => `${JSON.stringify(document)}\n`).join(''));
  return path;
}

const sentence = (name: string) => `Once upon a time, ${name} went to the park. ${name} was happy.`;

beforeAll(async () => {
  const documents = ['Lily', 'Tom', 'Ben'].map((name) => ({
    id: `people/${name}`,
    text: sentence(name),
    metadata: { name },
  }));
  await json('build', file('documents.jsonl', documents), '--model', model, '--out', built);
  cpSync(built, store, { recursive: true });
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('adds, updates, lists, removes with a receipt, compacts and verifies', async () => {
  const added = await json(
    'add',
    store,
    file('more.jsonl', [{ id: 'dog', text: sentence('Max') }]),
  );
  expect(added).toMatchObject({ documents: 1, replaced: 0, stored: { documents: 4 } });
  const newer = file('newer.jsonl', [{ id: 'dog', text: sentence('Rex') }]);
  const refused = await knnlm('add', store, newer);
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringMatching(/"dog" is already stored/),
  ]);
  expect(await json('update', store, newer)).toMatchObject({ documents: 1, replaced: 1 });
  const { documentList, deleted } = await json('info', store, '--documents');
  expect(documentList.map(({ id }: { id: string }) => id)).toEqual([
    'people/Lily',
    'people/Tom',
    'people/Ben',
    'dog',
  ]);
  expect(deleted).toBe(added.entries);
  const would = await json('remove', store, '--glob', 'people/*', '--dry-run');
  expect(would).toMatchObject({ dryRun: true, documents: { length: 3 } });
  const removed = await json('remove', store, 'people/Tom');
  expect(removed.documents).toMatchObject([{ id: 'people/Tom' }]);
  const receipt = join(folder, 'receipt.json');
  const by = ['--metadata', 'name=Ben', '--compact', '--receipt', receipt];
  const checked = await json('remove', store, ...by);
  expect(JSON.parse(readFileSync(receipt, 'utf8'))).toEqual(checked);
  expect(checked.checks).toMatchObject({
    idsFound: 0,
    search: { found: 0 },
    files: { keysFound: 0 },
  });
  expect(await json('compact', store)).toMatchObject({
    rewritten: false,
    entries: checked.remaining,
  });
  const verified = await json('verify', store, '--repair');
  expect(verified).toMatchObject({ files: 3, problems: [], leftovers: [], repaired: [] });
  expect((await json('info', store)).documents).toBe(2);
});

it('says on a terminal what was done, and what to do next', async () => {
  const path = join(folder, 'words');
  cpSync(built, path, { recursive: true });
  expect((await knnlm('remove', path, 'people/Tom')).stdout).toMatch(
    /people\/Tom +\d+ entries\n1 document removed, \d+ entries; \d+ are left\.\n.*knnlm compact/,
  );
  expect((await knnlm('compact', path)).stdout).toMatch(/removed +1 document, .* no file holds/);
  expect((await knnlm('compact', path)).stdout).toBe('There was nothing to take out.\n');
  expect((await knnlm('verify', path)).stdout).toMatch(/^3 files, .* as it was written\.\n$/);
});

it('refuses in one line what cannot be done, changing nothing', async () => {
  const before = readFileSync(join(built, 'manifest.json'), 'utf8');
  for (const [parameters, message] of [
    [['remove', built], /No documents were named/],
    [['remove', built, 'nobody'], /holds no document "nobody"/],
    [['remove', built, '--metadata', 'name'], /key=value/],
    [['remove', built, 'people/Tom', '--receipt', join(folder, 'no/r.json')], /no/],
    [['compact', join(folder, 'none')], /not a datastore/],
    [['add', built, join(folder, 'none.txt')], /none\.txt/],
  ] as const) {
    const { code, stdout, stderr } = await knnlm(...parameters);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(/^error: [^\n]+\n$/);
    expect(stderr).toMatch(message);
  }
  expect(readFileSync(join(built, 'manifest.json'), 'utf8')).toBe(before);
  expect(existsSync(join(built, 'lock'))).toBe(false);
});

it('tells of damage with exit status 2', async () => {
  const path = join(folder, 'damaged');
  cpSync(built, path, { recursive: true });
  const keys = join(path, 'segments/000000/keys.f16');
  const bytes = readFileSync(keys);
  bytes[5]! ^= 1;
  writeFileSync(keys, bytes);
  const { code, stdout, stderr } = await knnlm('verify', path, '--json');
  expect(code).toBe(2);
  expect(JSON.parse(stdout).problems).toHaveLength(1);
  expect(stderr).toMatch(/^error: .* is damaged: 1 problem\..*\n$/);
});
