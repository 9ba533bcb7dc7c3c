/** The command as it ships: a process, its exit status, its two streams. One small store, the bundled model. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'knnlm-cli-'));
const store = join(folder, 'store');

const DOCUMENTS = [
  {
    id: 'loop',
    text: 'Loop diuretics treat edema. The nurse should monitor the potassium level of the client.\n'.repeat(
      4,
    ),
  },
  {
    id: 'evil',
    text: 'Osmotic diuretics \x1b[31mtreat\x1b[0m pressure. The nurse should monitor the urine output.\n'.repeat(
      4,
    ),
  },
];

interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

function start(parameters: string[], environment: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [join(root, 'dist/cli/main.js'), ...parameters], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
  });
}

function finished(child: ChildProcess): Promise<Outcome> {
  const outcome = { stdout: '', stderr: '' };
  child.stdout!.on('data', (part) => (outcome.stdout += part));
  child.stderr!.on('data', (part) => (outcome.stderr += part));
  return new Promise((resolve) => child.on('close', (code) => resolve({ code, ...outcome })));
}

function knnlm(parameters: string[], input = '', environment = {}): Promise<Outcome> {
  const child = start(parameters, environment);
  child.stdin!.on('error', () => {});
  child.stdin!.end(input);
  return finished(child);
}

/** Exactly one line, and nothing on standard output. */
function expectOneLine({ code, stdout, stderr }: Outcome, message: RegExp): void {
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  expect(stderr).toMatch(/^error: [^\n]+\n$/);
  expect(stderr).toMatch(message);
}

/** Standard output is one line of JSON. */
function json({ code, stdout, stderr }: Outcome) {
  expect(code, stderr).toBe(0);
  expect(stdout.trimEnd()).not.toContain('\n');
  return JSON.parse(stdout);
}

beforeAll(async () => {
  writeFileSync(
    join(folder, 'documents.jsonl'),
    DOCUMENTS.map((document) => `${JSON.stringify(document)}\n`).join(''),
  );
});

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('knnlm', () => {
  it('prints help and version on standard output', async () => {
    expect(await knnlm(['--version'])).toMatchObject({ code: 0, stderr: '' });
    const help = await knnlm(['--help']);
    expect(help).toMatchObject({ code: 0, stderr: '' });
    for (const name of ['build', 'info', 'eval', 'search', 'generate', 'model', 'demo'])
      expect(help.stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
  });

  it.each([
    [['bild', 'x'], /unknown command 'bild' \(Did you mean build\?\)/],
    [['info'], /missing required argument 'store'/],
    [['build', 'x'], /required option '-o, --out <store>'/],
    [['build', 'x', '--out', 'y', '--key', 'z'], /'z' is invalid\. Allowed choices are ffn-input/],
    [['eval', 's', 't', '--lambda', '1.5'], /'1\.5' is invalid\. It must be a number from 0 to 1/],
    [['eval', 's', 't', '--lambda', ''], /It must be a number from 0 to 1/],
    [['eval', 's', 't', '--k', '0'], /'0' is invalid\. It must be a whole number of 1 or more/],
    [['eval', 's', 't', '--k', '2.5'], /'2\.5' is invalid/],
    [['eval', 's', 't', '--k', '0x10'], /'0x10' is invalid/],
    [
      ['search', 's', 't', '--knn-temperature', '0'],
      /'0' is invalid\. It must be a number above 0/,
    ],
    [['search', 's', 't', '--knn-temperature', 'NaN'], /'NaN' is invalid/],
    [
      ['search', 's', 't', '--memory', 'lots'],
      /'lots' is invalid\. It must be a size such as 512MB/,
    ],
    [['generate', 's', 't', '--top-p', '-1'], /'-1' is invalid/],
    [['generate', 's', 't', '--max-tokens', 'Infinity'], /'Infinity' is invalid/],
    [
      ['generate', 's', 't', '--lamda', '1'],
      /unknown option '--lamda' \(Did you mean --lambda\?\)/,
    ],
  ])('refuses %j in one line with status 2', async (parameters, message) => {
    expectOneLine(await knnlm(parameters), message);
  });

  it('says in one line that a store is missing', async () => {
    for (const parameters of [['info'], ['search', 'x'], ['eval', 'x'], ['generate', 'x']]) {
      const [name, ...rest] = parameters;
      expectOneLine(await knnlm([name!, join(folder, 'none'), ...rest]), /none/);
    }
  });

  it('says in one line that there is nothing to read', async () => {
    const none = join(folder, 'none.txt');
    expectOneLine(await knnlm(['build', none, '--out', join(folder, 'x')]), /none\.txt/);
  });

  it('has a page of documentation that says what the help says', async () => {
    const child = spawn(process.execPath, [join(root, 'scripts/write-cli-docs.js'), '--check']);
    expect(await finished(child)).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

describe('a store', () => {
  it('is built from files, with the plan on standard error', async () => {
    const built = await knnlm(['build', join(folder, 'documents.jsonl'), '--out', store, '--json']);
    expect(built.stderr).toMatch(/to read {2}2 documents/);
    const result = json(built);
    expect(result).toMatchObject({ documents: 2, skipped: 0, resumedEntries: 0 });
    expect(result.entries).toBeGreaterThan(100);

    const info = json(await knnlm(['info', store, '--json']));
    expect(info).toMatchObject({ documents: 2, entries: result.entries, complete: true });
    expect(info.bytes.total).toBe(result.bytes);
  });

  it('is not built twice', async () => {
    const again = await knnlm(['build', join(folder, 'documents.jsonl'), '--out', store]);
    expect(again).toMatchObject({ code: 2, stdout: '' });
    expect(again.stderr).toMatch(/^error: .* is already a finished datastore/m);
  });

  it('is built from standard input', async () => {
    const out = join(folder, 'piped');
    const built = json(await knnlm(['build', '-', '--out', out, '--json'], DOCUMENTS[0]!.text));
    expect(built).toMatchObject({ documents: 1 });
  });

  it('scores text from standard input in both forms', async () => {
    const settings = ['--k', '8', '--lambda', '0.5', '--knn-temperature', '4'];
    const text = DOCUMENTS[0]!.text;
    const scored = json(await knnlm(['eval', store, '-', ...settings, '--json'], text));
    expect(scored.settings).toEqual({ k: 8, lambda: 0.5, temperature: 4 });
    expect(scored.knnlm.perplexity).toBeLessThan(scored.lm.perplexity);

    const shown = await knnlm(['eval', store, '-', ...settings], text);
    expect(shown.stdout).toContain(scored.lm.perplexity.toFixed(2));
    expect(shown.stdout).not.toContain('\x1b');
  });

  it('answers a search, with the control characters of documents made visible', async () => {
    const prompt = 'Osmotic diuretics \x1b[31m';
    const found = json(await knnlm(['search', store, prompt, '--show', '3', '--json']));
    expect(found.neighbors).toHaveLength(3);
    expect(found.neighbors[0]).toMatchObject({ document: 'evil' });

    const shown = await knnlm(['search', store, '--show', '3'], `${prompt}\n`, {
      FORCE_COLOR: '3',
    });
    expect(shown.stdout).toContain('␛[31m');
    expect(shown.stdout).not.toContain('\x1b[31mtreat');
  });

  it('is searched together with others, each neighbor with the name of its store', async () => {
    const other = join(folder, 'piped');
    const prompt = 'Loop diuretics treat';
    const both = ['search', store, prompt, '--store', other, '--show', '6', '--k', '8'];
    const found = json(await knnlm([...both, '--json']));
    const stores = found.neighbors.map((neighbor: { store: string }) => neighbor.store);
    expect(new Set(stores)).toEqual(new Set(['store', 'piped']));
    const lambdas = ['--store-lambda', 'store=0.1', '--store-lambda', 'piped=0.3'];
    const shown = await knnlm([...both, ...lambdas]);
    expect(shown.stdout).toContain('piped › stdin');
    expect(shown.stdout).toContain('λ store 0.1 piped 0.3');
    expectOneLine(
      await knnlm([...both, '--store-lambda', 'letters=0.1']),
      /No open datastore is called "letters".*store, piped/,
    );
    expectOneLine(await knnlm([...both, '--store-lambda', 'piped']), /name=share/);
    expectOneLine(await knnlm([...both, '--store', store]), /given twice/);
  });

  it('writes a continuation: text alone, one object, or a line per token', async () => {
    const parameters = ['generate', store, 'Loop diuretics treat', '--max-tokens', '6'];
    const whole = json(await knnlm([...parameters, '--json']));
    expect(whole.tokens).toHaveLength(6);
    expect(whole.tokens[0]).toMatchObject({ neighbors: expect.any(Array) });

    const plain = await knnlm(parameters);
    expect(plain).toMatchObject({ code: 0, stdout: `${whole.text}\n` });

    const lines = (await knnlm([...parameters, '--json', '--stream'])).stdout.trimEnd().split('\n');
    expect(lines).toHaveLength(7);
    expect(
      lines
        .slice(0, 6)
        .map((line) => JSON.parse(line).text)
        .join(''),
    ).toBe(whole.text);
    expect(JSON.parse(lines[6]!)).toMatchObject({ text: whole.text, finishReason: 'length' });
  });

  it('ends quietly when the reader of its output goes away', async () => {
    const child = start([
      'generate',
      store,
      'The nurse',
      '--max-tokens',
      '40',
      '--json',
      '--stream',
    ]);
    child.stdout!.once('data', () => child.stdout!.destroy());
    const { code, stderr } = await finished(child);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  });

  it('stops cleanly on Ctrl-C, and the same command goes on from there', async () => {
    const out = join(folder, 'stopped');
    const documents = join(folder, 'long.jsonl');
    const text = `${DOCUMENTS[0]!.text}${DOCUMENTS[1]!.text}`.repeat(6);
    const lines = [1, 2, 3, 4].map((id) => `${JSON.stringify({ id, text: `${id} ${text}` })}\n`);
    writeFileSync(documents, lines.join(''));
    const settings = ['--k', '64', '--lambda', '0.25', '--knn-temperature', '1'];
    const parameters = ['build', documents, '--out', out, ...settings, '--json'];
    const child = start(parameters);
    // The plan has been told: work begins.
    child.stderr!.once('data', () => setTimeout(() => child.kill('SIGINT'), 300));
    const stopped = await finished(child);
    expect(stopped).toMatchObject({ code: 130, stdout: '' });
    expect(stopped.stderr).toContain('the same command goes on from there');
    expect(json(await knnlm(['info', out, '--json']))).toMatchObject({ complete: false });

    expect(json(await knnlm(parameters))).toMatchObject({ documents: 4 });
    expect(json(await knnlm(['info', out, '--json']))).toMatchObject({ complete: true });
  });
});
