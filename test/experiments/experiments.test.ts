import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseHTML } from 'linkedom';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { EXPERIMENT_NAMES, runExperiments } from '../../dist/experiments/run-experiments.js';
import type { ExperimentOptions, ExperimentStep } from '../../dist/experiments/types.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const model = join(root, 'test/fixtures/models/stories260K');
const folder = mkdtempSync(join(tmpdir(), 'knnlm-experiments-'));
const medical = join(folder, 'medical.jsonl');
const stories = join(folder, 'stories.jsonl');

/** Pieces of the long documents, so that there is something to split. */
function pieces(): string {
  const text = readFileSync(join(root, 'test/fixtures/golden/medical.train.jsonl'), 'utf8');
  return text
    .trim()
    .split('\n')
    .flatMap((line, d) => {
      const { text } = JSON.parse(line);
      return Array.from({ length: 6 }, (_, i) => ({
        id: `${d}.${i}`,
        text: text.slice(i * 600, (i + 1) * 600),
      }));
    })
    .filter(({ text }) => text.length > 0)
    .map((document) => JSON.stringify(document))
    .join('\n');
}

const options: ExperimentOptions = {
  out: join(folder, 'report'),
  model,
  domain: { documents: [medical] },
  trained: { documents: [stories] },
  maxTokens: 120,
  workers: 1,
  quick: true,
};

beforeAll(() => {
  writeFileSync(medical, pieces());
  const lines = readFileSync(join(root, 'test/fixtures/golden/tinystories.train.jsonl'), 'utf8');
  writeFileSync(stories, lines.split('\n').slice(0, 14).join('\n'));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe('all experiments', () => {
  it('run, say which finding shows, and leave a page that needs nothing beside it', async () => {
    const report = await runExperiments(['all'], {
      ...options,
      modelSmall: model,
      modelLarge: model,
    });
    expect(report.experiments.map(({ name }) => name)).toEqual(EXPERIMENT_NAMES);
    for (const result of report.experiments) {
      if ('skipped' in result) throw new Error(`${result.name} was skipped`);
      for (const { perplexity, interval } of result.rows) {
        expect(perplexity).toBeGreaterThanOrEqual(interval[0]);
        expect(perplexity).toBeLessThanOrEqual(interval[1]);
      }
      for (const { verdict, why } of result.claims)
        expect(verdict === 'shown').toBe(why === undefined);
    }
    const domain = report.experiments.find(({ name }) => name === 'domain')!;
    expect('claims' in domain && domain.claims[0]!.verdict).toBe('shown');
    const page = readFileSync(join(options.out, 'index.html'), 'utf8');
    expect(page).not.toMatch(/<script|<link|src=|url\(/);
    const { document } = parseHTML(page);
    expect(document.querySelectorAll('figure svg')).toHaveLength(EXPERIMENT_NAMES.length);
    expect(document.querySelectorAll('.findings tbody tr').length).toBeGreaterThan(12);
    const markdown = readFileSync(join(options.out, 'report.md'), 'utf8');
    expect(markdown.match(/!\[.*\]\(charts\/[\w-]+\.svg\)/g)).toHaveLength(EXPERIMENT_NAMES.length);
    expect(JSON.parse(readFileSync(join(options.out, 'results.json'), 'utf8'))).toEqual(report);
  });

  it('keep what is finished, and run again when the settings change', async () => {
    const states = async (more: Partial<ExperimentOptions>): Promise<string[]> => {
      const seen: ExperimentStep[] = [];
      await runExperiments(['k'], { ...options, ...more, onStep: (step) => seen.push(step) });
      return seen.map(({ state }) => state);
    };
    const out = join(folder, 'kept');
    expect(await states({ out })).toEqual(['running', 'done']);
    expect(await states({ out })).toEqual(['kept']);
    expect(await states({ out, maxTokens: 119 })).toEqual(['running', 'done']);
  });

  it('stopped in the middle, go on with the finished ones kept', async () => {
    const out = join(folder, 'stopped');
    const controller = new AbortController();
    const names = ['k', 'same-data'];
    const stop = (step: ExperimentStep): void => {
      if (step.name === 'same-data') controller.abort();
    };
    const stopped = runExperiments(names, {
      ...options,
      out,
      onStep: stop,
      signal: controller.signal,
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    const seen: string[] = [];
    const onStep = (step: ExperimentStep) => seen.push(`${step.name} ${step.state}`);
    await runExperiments(names, { ...options, out, onStep });
    expect(seen).toEqual(['k kept', 'same-data running', 'same-data done']);
  });
});

describe('what cannot run', () => {
  it('is skipped in `all` with the reason, and refused when asked for by name', async () => {
    const asked = runExperiments(['retrieve-vs-train'], options);
    await expect(asked).rejects.toThrow(/--model-small FOLDER --model-large FOLDER/);
  });

  it('names what there is', async () => {
    await expect(runExperiments(['lambada'], options)).rejects.toThrow(
      /"lambada".*keys, k, lambda/,
    );
  });

  it('says when there is too little text to hold any out', async () => {
    const domain = { documents: [join(root, 'test/fixtures/golden/medical.valid.jsonl')] };
    await expect(runExperiments(['k'], { ...options, domain })).rejects.toThrow(
      /two held-out documents/,
    );
  });
});

describe('knnlm experiment', () => {
  const run = (...parameters: string[]) =>
    spawnSync(process.execPath, [join(root, 'dist/cli/main.js'), 'experiment', ...parameters], {
      encoding: 'utf8',
    });

  it('prints the report as one JSON object, the steps on standard error', () => {
    const { out } = options;
    const files = ['--docs', medical, '--trained', stories, '--model', model];
    const few = ['--quick', '--max-tokens', '120', '--workers', '1'];
    const { status, stdout, stderr } = run('k', '--out', out, ...files, ...few, '--json');
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ model, maxTokens: 120 });
    expect(stderr).toContain('[1 of 1] k (kept from before)');
  });

  it('ends with 2 and one line for what a user can mend', () => {
    const unknown = run('perplexity');
    expect(unknown.status).toBe(2);
    expect(unknown.stderr).toMatch(/^error: There is no experiment "perplexity"\..*\n$/);
    const alone = run('k', '--held-out', medical);
    expect(alone.status).toBe(2);
    expect(alone.stderr).toContain('Give them with --docs');
  });
});
