import { spawnSync } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const fixtures = fileURLToPath(new URL('./fixtures/', import.meta.url));
const model = `${fixtures}models/stories260K`;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-bad-'));
const path = (name: string): string => join(folder, name);
const store = path('store');

function knnlm(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [main, ...args], { encoding: 'utf8', cwd: folder });
}

/** Exit status 2, nothing on standard output, and one line of error that says what was wrong. */
function refused(args: string[], ...words: (string | RegExp)[]): void {
  const { status, stdout, stderr } = knnlm(...args);
  const lines = stderr.split('\n').filter((line) => line && !line.startsWith('warning:'));
  expect({ status, lines: lines.length, stdout }, stderr).toEqual({
    status: 2,
    lines: 1,
    stdout: '',
  });
  for (const word of words) expect(lines[0]).toMatch(word);
}

/** Name and size of every file, to see that nothing was lost or added. */
const listing = (root: string): string[] =>
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => `${name} ${statSync(join(root, name)).size}`);

/** A copy of the small model with one file changed. */
function brokenModel(
  name: string,
  file: string,
  change: (content: Buffer) => Buffer | string,
): string {
  cpSync(model, path(name), { recursive: true });
  writeFileSync(join(path(name), file), change(readFileSync(join(model, file))));
  return path(name);
}

beforeAll(() => {
  writeFileSync(
    path('story.txt'),
    'Once upon a time, there was a little dog. The dog liked to play.',
  );
  const built = knnlm('build', 'story.txt', '--out', store, '--model', model);
  expect(built.status, built.stderr).toBe(0);
});

afterAll(() => rmSync(folder, { recursive: true }));

it('refuses an empty corpus', () => {
  writeFileSync(path('empty.txt'), '');
  mkdirSync(path('nothing'));
  refused(['build', 'empty.txt', '--out', 'a', '--model', model], /No document/);
  refused(['build', 'nothing', '--out', 'a', '--model', model], /No document/);
  refused(['eval', store, 'empty.txt'], /No document/);
});

it('refuses text that is not UTF-8 and says where', () => {
  writeFileSync(path('latin1.txt'), Buffer.from('caf\xe9 au lait', 'latin1'));
  refused(['build', 'latin1.txt', '--out', 'b', '--model', model], 'latin1.txt', 'byte 3', '0xe9');
});

it('refuses a binary file, whatever it is called', () => {
  writeFileSync(path('picture.png'), Buffer.from([137, 80, 78, 71, 13, 10, 26, 10, 0, 0]));
  writeFileSync(path('picture.txt'), Buffer.from([80, 78, 71, 0, 0, 1, 2, 3]));
  refused(['build', 'picture.png', '--out', 'c', '--model', model], 'picture.png');
  refused(['build', 'picture.txt', '--out', 'c', '--model', model], 'picture.txt');
});

it('refuses a broken ONNX file', () => {
  const cut = brokenModel('cut', 'onnx/model.onnx', (bytes) =>
    bytes.subarray(0, bytes.length >> 1),
  );
  refused(['build', 'story.txt', '--out', 'd', '--model', cut], 'model.onnx');
  const text = brokenModel('text', 'onnx/model.onnx', () => '<html>404</html>');
  refused(['build', 'story.txt', '--out', 'd', '--model', text], 'model.onnx');
  const config = brokenModel('config', 'config.json', () => '{');
  refused(['build', 'story.txt', '--out', 'd', '--model', config], 'config.json');
});

it('refuses the tokenizer of another model', () => {
  const bundled = fileURLToPath(new URL('../models/wiki-mini/', import.meta.url));
  const other = brokenModel('other', 'tokenizer.json', () =>
    readFileSync(`${bundled}tokenizer.json`),
  );
  refused(['build', 'story.txt', '--out', 'e', '--model', other], /tokenizer/, '8191', '512');
});

it('refuses a dynamically quantized graph and says why', () => {
  refused(
    ['build', 'story.txt', '--out', 'f', '--model', model, '--dtype', 'int8'],
    /later tokens change earlier keys/,
  );
});

it('refuses a folder that cannot be written, and one that is not its own', () => {
  refused(['build', 'story.txt', '--out', 'story.txt/store', '--model', model], 'story.txt');
  refused(['build', 'story.txt', '--out', 'story.txt', '--model', model], 'story.txt');
  mkdirSync(path('mine'));
  writeFileSync(path('mine/letter.txt'), 'dear');
  refused(['build', 'story.txt', '--out', 'mine', '--model', model], 'letter.txt');
  expect(listing(path('mine'))).toEqual(['letter.txt 4']);
});

it('refuses a store with another model than its own', () => {
  refused(['generate', store, 'Once', '--model', 'wiki-mini'], /model/);
  const retrained = brokenModel('retrained', 'onnx/model.onnx', (bytes) => {
    const changed = Buffer.from(bytes);
    changed[changed.length >> 1]! ^= 1;
    return changed;
  });
  refused(['generate', store, 'Once', '--model', retrained], /weights|fingerprint/);
});

it('refuses a store with a truncated segment and leaves it as it is', () => {
  const broken = path('broken');
  cpSync(store, broken, { recursive: true });
  const keys = join(broken, 'segments/000000/keys.f16');
  truncateSync(keys, statSync(keys).size - 1);
  const before = listing(broken);
  refused(['generate', broken, 'Once'], 'keys.f16');
  refused(['info', broken], 'keys.f16');
  expect(listing(broken)).toEqual(before);
});

it('refuses a store whose manifest is not one', () => {
  const broken = path('no-manifest');
  cpSync(store, broken, { recursive: true });
  writeFileSync(join(broken, 'manifest.json'), '{"format":"knnlm-datastore","version":99}');
  refused(['info', broken], /99/);
  writeFileSync(join(broken, 'manifest.json'), 'not json');
  refused(['info', broken], 'manifest.json');
});

it('takes a k beyond the number of entries and a prompt beyond the window', () => {
  const long = 'The dog liked to play. '.repeat(400);
  const { status, stdout, stderr } = knnlm(
    'generate',
    store,
    long,
    '--k',
    '100000',
    '--max-tokens',
    '3',
    '--json',
  );
  expect(status, stderr).toBe(0);
  expect(JSON.parse(stdout).tokens.length).toBeGreaterThan(0);
});
