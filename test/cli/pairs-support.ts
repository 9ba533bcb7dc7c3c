/** A store of forty pairs made at the command line, for the tests of what is done with it. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect } from 'vitest';

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const main = path('dist/cli/main.js');
export const model = path('test/fixtures/models/translator');
export const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-pairs-'));
export const store = join(folder, 'pairs.knn');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

export function knnlm(parameters: string[], input = '') {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [main, ...parameters], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
    child.stdin!.end(input);
  });
}

export async function json(...parameters: string[]) {
  const { code, stdout, stderr } = await knnlm([...parameters, '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

export const pairs = readFileSync(join(model, 'pairs/memory.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { source: string; target: string });
export const file = (name: string, lines: string[]) => {
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
};

/** Builds the store before a file's first test. */
export const withStore = (): void =>
  beforeAll(async () => {
    const some = pairs.slice(0, 40);
    const sources = file(
      'train.en',
      some.map(({ source }) => source),
    );
    const targets = file(
      'train.inv',
      some.map(({ target }) => target),
    );
    const settings = ['--k', '16', '--lambda', '0.6', '--knn-temperature', '4'];
    const built = await json(
      ...['build', sources, '--targets', targets, '--out', store, '--model', model, ...settings],
    );
    expect(built).toMatchObject({ documents: 40, skipped: 0 });
  });
