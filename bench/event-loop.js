/**
 * Does anything stall the event loop while building, searching, evaluating and generating?
 *
 *     node bench/event-loop.js TRAIN.jsonl(.gz) VALID.jsonl(.gz) [MEGABYTES]
 *
 * A 1 ms timer runs in the same process; a stall is the time between two ticks. JSON on the last line: the longest
 * stall and the 99.9th percentile of each phase, in milliseconds.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openKnnLM, readDocuments } from '../dist/index.js';
import { buildEntriesFrom, percentile, round } from './common.js';

const [train, valid, megabytes = '1'] = process.argv.slice(2);
if (!valid) throw new Error('usage: node bench/event-loop.js TRAIN VALID [MEGABYTES]');

let gaps = [];
let last = performance.now();
setInterval(() => {
  const now = performance.now();
  gaps.push(now - last);
  last = now;
}, 1).unref();

const phases = {};
async function phase(name, work) {
  gaps = [];
  last = performance.now();
  const value = await work();
  phases[name] = {
    longestMs: round(Math.max(...gaps), 1),
    p999Ms: round(percentile(gaps, 0.999), 1),
    ticks: gaps.length,
  };
  console.error(name, phases[name]);
  return value;
}

const out = mkdtempSync(join(tmpdir(), 'knnlm-loop-'));
const settings = { k: 1024, lambda: 0.7, temperature: 8 };
const store = join(out, 'store');
// The first build and opening in a process also load and compile modules, once.
await phase('first use', async () => {
  const small = join(out, 'small');
  await buildEntriesFrom(valid, { out: small, megabytes: 0.01, settings });
  await (await openKnnLM(small)).close();
});
await phase('build', () =>
  buildEntriesFrom(train, { out: store, megabytes: Number(megabytes), settings }),
);
const knnlm = await phase('open', () => openKnnLM(store));
await phase('evaluate', () => knnlm.evaluate(readDocuments([valid]), { maxTokens: 8000 }));
await phase('search', async () => {
  for (let i = 0; i < 20; i++) await knnlm.search(`The patient, number ${i}, was given`);
});
await phase('generate', async () => {
  for await (const _ of knnlm.generate('The patient', { maxTokens: 200 }));
});
await phase('close', () => knnlm.close());
rmSync(out, { recursive: true });
console.log(JSON.stringify(phases));
