/** Pairs from the command line: build, add, eval, tune, translate, and what is refused. */
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

it('adds pairs of two columns, and evaluates pairs of JSON Lines', async () => {
  const more = file(
    'more.tsv',
    pairs.slice(40, 60).map(({ source, target }) => `${source}\t${target}`),
  );
  expect(await json('add', store, more)).toMatchObject({ documents: 20 });
  expect(await json('info', store)).toMatchObject({ documents: 60, pairs: {} });
  const { stdout } = await knnlm(['info', store]);
  expect(stdout).toContain('60 pairs of a source and its target');
  const held = join(model, 'pairs/medicine.jsonl');
  const evaluation = await json('eval', store, held);
  expect(evaluation).toMatchObject({ documents: 30, settings: { k: 16, lambda: 0.6 } });
  expect(evaluation.knnlm.perplexity).toBeLessThan(evaluation.lm.perplexity);
});

it('translates an argument with its sources, and a file line by line', async () => {
  const { source, target } = pairs[0]!;
  const knn = ['--lambda', '0.9', '--knn-temperature', '0.1'];
  const translation = await json('translate', store, source, ...knn);
  expect(translation).toMatchObject({ source, text: target, finishReason: 'stop', beams: 4 });
  expect(translation.tokens[0].neighbors[0]).toMatchObject({ sourceText: source });
  const shown = await knnlm(['translate', store, source, ...knn, '--sources', '--beams', '1']);
  expect(shown.stdout).toContain(`    ${source}`);
  const lines = await knnlm(['translate', store, ...knn], `${source}\n\n${pairs[1]!.source}\n`);
  expect(lines).toMatchObject({ code: 0, stdout: `${target}\n\n${pairs[1]!.target}\n` });
  const many = await knnlm(['translate', store, '-', ...knn, '--json'], `${source}\n\n${source}`);
  const texts = many.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).text);
  expect(texts).toEqual([target, target]);
});

it('refuses in one line what the store, the model or the file is not made for', async () => {
  const texts = file('text.txt', ['Once upon a time.']);
  const out = join(folder, 'refused.knn');
  const failing = async (...parameters: string[]) => {
    const { code, stderr, stdout } = await knnlm(parameters);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.trimEnd()).not.toContain('\n');
    return stderr;
  };
  expect(await failing('generate', store, 'the dog')).toMatch(/holds pairs .* knnlm translate/);
  expect(await failing('search', store, 'the dog')).toMatch(/holds pairs .* knnlm translate/);
  expect(await failing('serve', store, '--port', '0')).toMatch(/holds pairs/);
  expect(await failing('build', texts, '--out', out, '--model', model)).toMatch(/build --pairs/);
  expect(await failing('build', '--pairs', texts, '--out', out, '--model', model)).toMatch(
    /text\.txt is of a kind that cannot be read. Give pairs/,
  );
  const one = file('one.tsv', ['a\tb']);
  expect(await failing('build', '--pairs', one, '--out', out)).toMatch(
    /wiki-mini is a causal model/,
  );
  expect(
    await failing(
      'build',
      '--pairs',
      one,
      '--out',
      out,
      '--model',
      model,
      '--target-language',
      'x',
    ),
  ).toMatch(/no token for the target language "x"/);
  expect(await failing('translate', store, 'the dog', '--beams', '65')).toMatch(/1 to 64, not 65/);
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
