/**
 * Is a build that was killed at a random moment and continued byte-identical to one that ran through?
 *
 *     node bench/kill.js DOCS.jsonl [KILLS]
 *
 * Builds once undisturbed; then starts builds in processes of their own, which acknowledge every batch, kills them with SIGKILL at
 * random moments, runs the same build again to its end, and compares every byte. JSON on the last line: how many were
 * killed, how many of those had something acknowledged to go on from, how many ended identical.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildDatastore } from '../dist/index.js';

const [docs, kills = '20', child] = process.argv.slice(2);
if (!docs) throw new Error('usage: node bench/kill.js DOCS [KILLS]');
if (kills === '--build') {
  await buildDatastore([docs], { out: child, commitMs: 0 });
  process.exit();
}
const folder = mkdtempSync(join(tmpdir(), 'knnlm-kill-'));

/** Runs a build; resolves with the exit code, null when killed. */
const build = (out, killAfterMs) =>
  new Promise((resolve) => {
    const self = fileURLToPath(import.meta.url);
    const child = spawn(process.execPath, [self, docs, '--build', out], { stdio: 'ignore' });
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

const manifestOf = (store) =>
  existsSync(join(store, 'manifest.json')) &&
  JSON.parse(readFileSync(join(store, 'manifest.json'), 'utf8'));

const whole = join(folder, 'whole');
const started = performance.now();
if ((await build(whole)) !== 0) throw new Error('The undisturbed build failed.');
const wholeMs = performance.now() - started;
const wanted = digest(whole);
let identical = 0;
let killed = 0;
let resumed = 0;
for (let i = 0; i < Number(kills); i++) {
  const out = join(folder, `killed-${i}`);
  const moment = Math.round(Math.random() * wholeMs);
  if ((await build(out, moment)) === null) killed++;
  const state = manifestOf(out);
  if (
    state?.building &&
    state.segments[0].entries + (state.building.document?.entriesDone ?? 0) > 0
  ) {
    resumed++;
  }
  const code = state && !state.building ? 0 : await build(out);
  const same = code === 0 && digest(out) === wanted;
  if (same) identical++;
  console.error(
    `killed after ${moment} ms of ${Math.round(wholeMs)}: ${same ? 'identical' : `DIFFERENT (exit ${code})`}`,
  );
  if (same) rmSync(out, { recursive: true });
}
if (identical === Number(kills)) rmSync(folder, { recursive: true });
console.log(JSON.stringify({ kills: Number(kills), killed, resumed, identical }));
