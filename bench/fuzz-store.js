/**
 * Does a damaged store ever crash, hang or answer wrongly?
 *
 *     node bench/fuzz-store.js [INPUTS] [SEED]
 *
 * Takes small stores (`living/fuzz-subjects.js`: inverted files of 8-bit and of product codes, with keys and in their place, the note
 * of a server and of a watched folder), changes one file of one of them (a bit, a byte, a run of bytes, its length; in the manifest and
 * the headers of indexes also a field, with the checksum left out, made right or left wrong), opens the store, reads everything,
 * verifies it, compacts it now and then; where the change is in the index, searches by it. Allowed are: what the undamaged
 * store gives, or a one-line KnnLMError. A change in the keys, which are not read at opening, must be found by
 * `verify`. Who changes a field and makes the checksum right has written another store or index: that may say something else, but not
 * crash. JSON on the last line: how many were refused at opening, found by `verify`, without effect, and wrong.
 */
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { KnnLMError } from '../dist/index.js';
import { makeSubjects } from './living/fuzz-subjects.js';
import { makeMutator } from './living/mutate.js';

const [inputs = 100_000, seed = 1] = process.argv.slice(2).map(Number);
const { below, oneOf, damaged, CHANGED_BY_FIELD } = makeMutator(seed);

const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'knnlm-fuzz-'));
const subjects = await makeSubjects(folder);

const counts = {
  inIndex: 0,
  refused: 0,
  foundByVerify: 0,
  withoutEffect: 0,
  otherManifest: 0,
  otherIndex: 0,
  wrong: 0,
};
const perSubject = {};
let slowestMs = 0;

/** What a changed store may say. @returns what became of it */
async function look(subject, { name, same, byField }) {
  const { path, truth, foundTruth } = subject;
  const inIndex = name.startsWith('index/') || name === 'watch.json';
  if (inIndex) counts.inIndex++;
  const said = await subject.answers(path);
  const isOther = said !== truth;
  const { problems } = await subject.verify(path);
  if (isOther && !byField) return 'other answers';
  if (inIndex) {
    const found = await subject.found(path);
    if (found !== foundTruth) {
      if (name === 'watch.json') return 'withoutEffect';
      return byField ? 'otherIndex' : `other neighbors: ${found}`;
    }
    // A header says nothing of itself but its checksum.
    const isHeader = CHANGED_BY_FIELD[name] !== undefined;
    if (problems.length === 0 && !same && !isHeader) return 'not found by verify';
  }
  if (problems.length > 0) return 'foundByVerify';
  if (below(subject.name === 'keyless' ? 500 : 50) === 0) await subject.compact(path);
  if (!isOther && (same || inIndex || name === 'manifest.json')) return 'withoutEffect';
  return byField ? 'otherManifest' : 'not found by verify';
}

async function tryOne() {
  const subject = oneOf(subjects);
  const { path, original } = subject;
  const byField = below(4) === 0;
  const names = Object.keys(original);
  const name = oneOf(byField ? names.filter((one) => CHANGED_BY_FIELD[one]) : names);
  const bytes = byField
    ? Buffer.from(CHANGED_BY_FIELD[name](original[name]))
    : damaged(original[name]);
  writeFileSync(join(path, name), bytes);
  const started = performance.now();
  let end;
  try {
    end = await look(subject, { name, same: bytes.equals(original[name]), byField });
  } catch (error) {
    end = error instanceof KnnLMError && !error.message.includes('\n') ? 'refused' : error;
  }
  slowestMs = Math.max(slowestMs, performance.now() - started);
  if (typeof end === 'string' && end in counts) counts[end]++;
  else {
    counts.wrong++;
    console.error(subject.name, name, bytes.toString('base64').slice(0, 4000), end);
  }
  perSubject[subject.name] = (perSubject[subject.name] ?? 0) + 1;
  if (existsSync(join(path, 'segments/000001')) && existsSync(join(path, name)))
    return subject.restore(name);
  // It was compacted, or worse.
  rmSync(path, { recursive: true });
  cpSync(subject.pristine, path, { recursive: true });
}

const began = performance.now();
for (let i = 0; i < inputs; i++) {
  await tryOne();
  if (i % 5_000 === 4_999) console.error(`${i + 1} inputs, ${counts.wrong} wrong`);
}
rmSync(folder, { recursive: true });
const seconds = Math.round((performance.now() - began) / 1000);
console.log(
  JSON.stringify({
    inputs,
    seed,
    ...counts,
    perSubject,
    slowestMs: Math.round(slowestMs),
    seconds,
  }),
);
