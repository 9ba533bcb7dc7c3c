/**
 * Does the server keep what its OpenAPI document promises, whatever is sent?
 *
 *     node bench/serve/schemathesis.js STORE [--st st] [--model FOLDER] [--examples 100] [--workers 4]
 *
 * Needs `pip install schemathesis` (4). A copy of STORE is served by a process of its own and asked with requests made from
 * /openapi.json, right ones and wrong ones, and with sequences of them. Every reply must have a documented status, content type
 * and shape; none may be a fault of the server. (With a model that has a chat template chats are answered too.) Afterwards the server must answer as before and hold no slot. JSON on the last line.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startServer } from './start-server.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    st: { type: 'string', default: 'st' },
    model: { type: 'string' },
    examples: { type: 'string', default: '100' },
    workers: { type: 'string', default: '4' },
  },
});
const [given] = positionals;
if (!given) throw new Error('usage: node bench/serve/schemathesis.js STORE');

const folder = mkdtempSync(join(tmpdir(), 'knnlm-schemathesis-'));
const store = join(folder, 'store.knn');
cpSync(given, store, { recursive: true });
const limits = ['--max-tokens', '8', '--max-prompt', '500', '--timeout', '60', '--max-body', '4MB'];
if (options.model) limits.push('--model', options.model);
const server = await startServer([store, ...limits]);
const question = { prompt: 'Once upon a time', max_tokens: 4, temperature: 0 };
const before = await completion();
const started = performance.now();
const { failures, errors } = await run(options.st, [
  'run',
  `${server.url}/openapi.json`,
  ...['--checks', 'all', '--exclude-checks', 'positive_data_acceptance,ignored_auth'],
  ...['--max-examples', options.examples, '--workers', options.workers],
  ...[
    '--request-timeout',
    '60',
    '--max-response-time',
    '60',
    '--continue-on-failure',
    '--no-color',
  ],
]);
const seconds = Math.round((performance.now() - started) / 1000);
const { requests } = await (await fetch(`${server.url}/v1/knn/statistics`)).json();
const after = await completion();
await server.stop();
rmSync(folder, { recursive: true });
// An error is one of the tool's own, in what it failed to make.
const report = { seconds, failures, errors, requests, isUnchanged: before === after };
console.log(JSON.stringify(report));
if (failures > 0 || !report.isUnchanged || requests.active + requests.waiting > 0)
  process.exitCode = 1;

/** Of a store whose documents may have changed: the model's own words. */
async function completion() {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...question, knn: { lambda: 0 } }),
  });
  return (await response.json()).choices[0].text;
}

function run(command, parameters) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, { stdio: ['ignore', 'pipe', 'inherit'], cwd: folder });
    let output = '';
    child.stdout.on('data', (data) => {
      output += data;
      process.stdout.write(data);
    });
    child.on('error', reject);
    child.on('close', () => {
      const last = output.trim().split('\n').at(-1);
      const count = (what) => Number(new RegExp(`(\\d+) ${what}`).exec(last)?.[1] ?? 0);
      resolve({ failures: count('failure'), errors: count('error') });
    });
  });
}
