/**
 * Is a build that was killed at a random moment and continued byte-identical to one that ran through?
 *
 *     node bench/kill.js DOCS.jsonl [KILLS]
 *
 * Builds once undisturbed; then starts builds with the command line, kills them with SIGKILL at random moments, runs the same
 * command again until it ends, and compares every byte. JSON on the last line.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const [docs, kills = '20'] = process.argv.slice(2);
if (!docs) throw new Error('usage: node bench/kill.js DOCS [KILLS]');
const main = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'knnlm-kill-'));

/** Runs a build; resolves with the exit code, null when killed. */
const build = (out, killAfterMs) =>
  new Promise((resolve) => {
    const child = spawn(
      process.execPath,
      [main, 'build', docs, '--out', out, '--commit-ms', '200'],
      { stdio: 'ignore' },
    );
    const timer = killAfterMs && setTimeout(() => child.kill('SIGKILL'), killAfterMs);
    child.on('exit', (code) => {
      clearTimeout(timer);
      resolve(code);
    });
  });

function digest(store) {
  const hash = createHash('sha256');
  for (const name of readdirSync(store, { recursive: true, encoding: 'utf8' }).sort()) {
    const file = join(store, name);
    if (statSync(file).isFile()) hash.update(name).update(readFileSync(file));
  }
  return hash.digest('hex');
}

const whole = join(folder, 'whole');
const started = performance.now();
if ((await build(whole)) !== 0) throw new Error('The undisturbed build failed.');
const wholeMs = performance.now() - started;
const wanted = digest(whole);
let identical = 0;
let killed = 0;
let resumedFrom = 0;
for (let i = 0; i < Number(kills); i++) {
  const out = join(folder, `killed-${i}`);
  const moment = Math.round(Math.random() * wholeMs);
  if ((await build(out, moment)) === null) killed++;
  if (existsSync(join(out, 'manifest.json'))) resumedFrom++;
  const code =
    existsSync(join(out, 'manifest.json')) &&
    JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8')).building === null
      ? 0
      : await build(out);
  const same = code === 0 && digest(out) === wanted;
  if (same) identical++;
  console.error(
    `killed after ${moment} ms of ${Math.round(wholeMs)}: ${same ? 'identical' : `DIFFERENT (exit ${code})`}`,
  );
  if (same) rmSync(out, { recursive: true });
}
if (identical === Number(kills)) rmSync(folder, { recursive: true });
console.log(JSON.stringify({ kills: Number(kills), killed, resumedFrom, identical }));
