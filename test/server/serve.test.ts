/** `knnlm serve`, as it ships: a process, its first line, its end. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { MODEL, TestStore } from './support.ts';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const store = new TestStore();

function start(parameters: string[], environment: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, [main, 'serve', store.path, ...parameters], {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...environment },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

const firstLine = (child: ChildProcess) =>
  new Promise<string>((resolve) => child.stdout!.once('data', (data) => resolve(String(data))));

it('says where it is, answers whoever has the key, and ends with 0 when what was started is finished', async () => {
  const child = start(['--port', '0', '--json', '--concurrency', '3'], { KNNLM_API_KEY: 'sesame' });
  const told = JSON.parse(await firstLine(child));
  expect(told).toMatchObject({ model: MODEL, stores: [{ name: 'small.knn', documents: 40 }] });
  const authorization = { authorization: 'Bearer sesame' };
  const info = await fetch(`${told.url}/v1/knn/info`, { headers: authorization });
  expect(await info.json()).toMatchObject({ limits: { concurrency: 3 } });
  expect((await fetch(`${told.url}/v1/knn/info`)).status).toBe(401);
  const reply = await fetch(`${told.url}/v1/completions`, {
    method: 'POST',
    headers: { ...authorization, 'content-type': 'application/json' },
    body: JSON.stringify({ prompt: 'Once', max_tokens: 30, stream: true }),
  });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  child.kill('SIGTERM');
  expect(await reply.text()).toMatch(/data: \[DONE\]\n\n$/);
  expect(await ended).toBe(0);
});

it.each([
  [['--host', '0.0.0.0'], /needs a key: --api-key/],
  [['--port', '99999'], /--port <n>' argument '99999' is invalid/],
  [['--cors', 'app.example'], /An origin is a scheme/],
])('with %j does not start, and says why before it loads a model', async (parameters, message) => {
  const { code, stderr } = await new Promise<{ code: number; stderr: string }>((resolve) => {
    execFile(process.execPath, [main, 'serve', store.path, ...parameters], (error, _, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stderr }),
    );
  });
  expect([code, stderr]).toEqual([2, expect.stringMatching(message)]);
});
