import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import picocolors from 'picocolors';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { surfaceText } from '../../dist/cli/views/tuning.js';
import { buildDatastore } from '../../dist/open.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const golden = join(root, 'test/fixtures/golden');
const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-tune-'));
const store = join(folder, 'store');
const text = join(folder, 'held-out.txt');

function knnlm(...parameters: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...parameters]);
  const result = { code: -1, stdout: '', stderr: '' };
  child.stdout.on('data', (data) => (result.stdout += data));
  child.stderr.on('data', (data) => (result.stderr += data));
  return new Promise((resolve) => child.on('close', (code) => resolve({ ...result, code: code! })));
}

beforeAll(async () => {
  const model = join(root, 'test/fixtures/models/stories260K');
  const settings = { k: 8, lambda: 0.5, temperature: 4 };
  const input = join(golden, 'medical.train.jsonl');
  await buildDatastore([input], { model, window: 128, stride: 64, out: store, settings });
  const valid = JSON.parse(readFileSync(join(golden, 'medical.valid.jsonl'), 'utf8'));
  writeFileSync(text, valid.text.slice(0, 2500));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe('knnlm tune', () => {
  it('prints one JSON object, writes the picture, and the store then uses the settings', async () => {
    const plot = join(folder, 'tuning.svg');
    const { code, stdout } = await knnlm('tune', store, text, '--json', '--plot', plot);
    expect(code).toBe(0);
    const tuning = JSON.parse(stdout);
    expect(Object.keys(tuning.settings)).toEqual(['k', 'lambda', 'temperature']);
    expect(tuning.perplexity.knnlm).toBeLessThan(tuning.perplexity.lm);
    expect(tuning.perplexity.interval).toHaveLength(2);
    expect(readFileSync(plot, 'utf8')).toMatch(/^<svg /);
    const info = JSON.parse((await knnlm('info', store, '--json')).stdout);
    expect(info.settings).toMatchObject({ ...tuning.settings, source: 'tuned' });
    const constant = JSON.parse((await knnlm('eval', store, text, '--no-gate', '--json')).stdout);
    expect(constant.settings).toEqual(tuning.settings);
    expect(constant.knnlm.perplexity).toBeCloseTo(tuning.perplexity.knnlm, 3);
  });

  it('says what speed costs, and what was taken', async () => {
    const limits = ['--no-save', '--k', '16', '--max-tokens', '300'];
    const shown = await knnlm('tune', store, text, ...limits, '--within', '10');
    expect(shown.code).toBe(0);
    const step = String.raw`perplexity [\d.]+ \([−+][\d.]+%\), [\d.]+ ms a search`;
    expect(shown.stdout).toMatch(/speed +k 16: perplexity [\d.]+, [\d.]+ ms a search\n/);
    expect(shown.stdout).toMatch(new RegExp(`  k 4: ${step}\n +k 2: ${step}, taken\n`));
    const both = await knnlm('tune', store, text, '--within', '0.1', '--effort', '0.5');
    expect(both.code).toBe(2);
    expect(both.stderr).toMatch(/--within.*cannot be used with.*--effort/);
  });

  it('says for people what was found, and warns on standard error', async () => {
    const shown = await knnlm('tune', store, text, '--no-save', '--k', '4', '--max-tokens', '300');
    expect(shown.code).toBe(0);
    expect(shown.stdout).toMatch(
      /settings +k \d, λ 0\.\d+, T [\d.]+, cache λ 0\.\d+ T [\d.]+ {2}\(not stored\)/,
    );
    expect(shown.stdout).toContain('◆ chosen');
    expect(shown.stderr).toMatch(/warning: Only \d+ tokens/);
  });

  it('ends with 2 when the picture cannot be written', async () => {
    const nowhere = join(folder, 'no', 'such.svg');
    const few = ['--no-save', '--k', '2', '--max-tokens', '200'];
    const { code, stderr } = await knnlm('tune', store, text, ...few, '--plot', nowhere);
    expect(code).toBe(2);
    expect(stderr).toContain('Cannot write the picture');
  });
});

describe('knnlm eval', () => {
  it('remembers, follows and skips as asked, and tells every token and where memory helps', async () => {
    const tokens = join(folder, 'tokens.jsonl');
    const asked = ['--no-gate', '--cache', '0.2', '--min-pointers', '2'];
    const { code, stdout } = await knnlm(
      ...['eval', store, text, ...asked, '--per-token', tokens, '--json'],
    );
    expect(code).toBe(0);
    const evaluation = JSON.parse(stdout);
    expect(evaluation.settings).toMatchObject({ cache: { lambda: 0.2 }, pointers: true });
    expect(evaluation.searched).toBeLessThan(1);
    expect(evaluation.breakdown).toBeUndefined();
    const rows = readFileSync(tokens, 'utf8')
      .trimEnd()
      .split('\n')
      .map((row) => JSON.parse(row));
    expect(rows).toHaveLength(evaluation.tokens);
    expect(-rows.reduce((sum, { logP }) => sum + logP, 0)).toBeCloseTo(evaluation.knnlm.nll, 6);
    const shown = await knnlm('eval', store, text, '--breakdown', '--max-tokens', '300');
    for (const part of ['in the store', 'nearest', 'position', 'document', '.txt'])
      expect(shown.stdout).toContain(part);
  });

  it('scores as another code does, and says what does not go together', async () => {
    const given = ['--k', '8', '--lambda', '0.5', '--knn-temperature', '4', '--max-tokens', '200'];
    const { stdout } = await knnlm(
      ...['eval', store, text, ...given, '--semantics', 'fairseq', '--effort', '0.5', '--json'],
    );
    expect(JSON.parse(stdout).settings).toMatchObject({ semantics: 'fairseq', effort: 0.5 });
    const { code, stderr } = await knnlm('eval', store, text, '--adaptive', '--no-pointers');
    expect(code).toBe(2);
    expect(stderr).toContain('leave pointers on');
    const nowhere = join(folder, 'no', 'tokens.jsonl');
    const failed = await knnlm('eval', store, text, '--per-token', nowhere);
    expect([failed.code, failed.stderr.includes('Cannot write')]).toEqual([2, true]);
  });
});

it('draws what is near the best dark, what is worse than the model as dots, and marks the choice', () => {
  const surface = {
    lambdas: [0, 0.5],
    temperatures: [1, 2, 4],
    perplexity: [
      [10, 14],
      [10, 5],
      [10, 5.04],
    ],
  };
  const drawn = surfaceText(
    {
      settings: { k: 1, lambda: 0.5, temperature: 2 },
      perplexity: { lm: 10, knnlm: 5, interval: [4, 6], ratio: [0.4, 0.6], crossValidated: 5 },
      curves: { k: [], temperature: [], surface },
    },
    picocolors.createColors(false),
  );
  expect(drawn.split('\n').slice(0, 2)).toEqual(['         ··◆ ██', '  λ 0.0  ░░░░░░']);
});

describe('the effort of a store', () => {
  it('keeps the effort it was told to tune with', async () => {
    const few = ['--max-tokens', '300', '--k', '4', '--effort', '0.5'];
    const { stdout } = await knnlm('tune', store, text, ...few);
    expect(stdout).toMatch(/settings +.*, 0\.5 of the usual lists/);
    const evaluated = await knnlm('eval', store, text, '--json', '--max-tokens', '100');
    expect(JSON.parse(evaluated.stdout).settings.effort).toBe(0.5);
    const refused = await knnlm('tune', store, text, '--effort', '0');
    expect(refused.code).toBe(2);
    expect(refused.stderr).toContain('--effort');
  });
});
