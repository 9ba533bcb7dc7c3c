/** `knnlm serve` as a process of its own, for benchmarks. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** @param parameters of `knnlm serve`; the port is any that is free */
export async function startServer(parameters) {
  const child = spawn(process.execPath, [main, 'serve', ...parameters, '--port', '0', '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => child.on('exit', resolve));
  const first = new Promise((resolve) =>
    child.stdout.once('data', (data) => resolve(String(data))),
  );
  const line = await Promise.race([first, ended]);
  if (typeof line !== 'string') throw new Error('The server did not start.');
  return {
    ...JSON.parse(line),
    pid: child.pid,
    async stop() {
      child.kill('SIGTERM');
      await ended;
    },
  };
}
