/** Pairs from the command line: build, translate, model. */
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const path = (name: string) => fileURLToPath(new URL(`../../${name}`, import.meta.url));
const main = path('dist/cli/main.js');
const model = path('test/fixtures/models/translator');
const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-pairs-'));
const store = join(folder, 'pairs.knn');
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function knnlm(parameters: string[], input = '') {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const child = execFile(process.execPath, [main, ...parameters], (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
    child.stdin!.end(input);
  });
}

async function json(...parameters: string[]) {
  const { code, stdout, stderr } = await knnlm([...parameters, '--json']);
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

const pairs = readFileSync(join(model, 'pairs/memory.jsonl'), 'utf8')
  .trimEnd()
  .split('\n')
  .map((line) => JSON.parse(line) as { source: string; target: string });
const file = (name: string, lines: string[]) => {
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
};

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

it('translates an argument with its sources, and a file line by line', async () => {
  const { source, target } = pairs[0]!;
  const knn = ['--lambda', '0.9', '--knn-temperature', '0.1'];
  const [translation, shown, lines, many] = await Promise.all([
    json('translate', store, source, ...knn),
    knnlm(['translate', store, source, ...knn, '--sources', '--beams', '1']),
    knnlm(['translate', store, ...knn], `${source}\n\n${pairs[1]!.source}\n`),
    knnlm(['translate', store, '-', ...knn, '--json'], `${source}\n\n${source}`),
  ]);
  expect(translation).toMatchObject({ source, text: target, finishReason: 'stop', beams: 4 });
  expect(translation.tokens[0].neighbors[0]).toMatchObject({ sourceText: source });
  expect(shown.stdout).toContain(`    ${source}`);
  expect(lines).toMatchObject({ code: 0, stdout: `${target}\n\n${pairs[1]!.target}\n` });
  const texts = many.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).text);
  expect(texts).toEqual([target, target]);
});

it('describes an encoder-decoder', async () => {
  const description = await json('model', model);
  expect(description).toMatchObject({
    encoder: 'onnx/encoder_model.onnx',
    info: { family: 'marian', layers: 2, pairs: { sourceEnd: [0], targetStart: [], beams: 4 } },
    boundary: { bos: { text: '<pad>', rule: 'decoder_start_token_id of config.json' } },
    warnings: [],
  });
  const { stdout } = await knnlm(['model', model]);
  expect(stdout).toContain('reads pairs of a source and its target');
});
