/**
 * How long until something added to a large store is found, and something removed is not?
 *
 *     node bench/living/large-store.js DOCS.jsonl [STORE | ENTRIES] [TOKENS]
 *
 * Copies STORE, or makes one of ENTRIES (2,000,000) made-up keys in documents of 250 under the header of the bundled model, opens it,
 * adds documents of about TOKENS (10,000) tokens to the open store and searches for them. Beside it, in the same process, the
 * time that the model alone needs to read the same documents, A B A B. Then removes documents one by one: from the open store,
 * until it would be searched without them, and by a caller who has nothing open. JSON on the last line: medians.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatastoreWriter } from '../../dist/datastore/datastore-writer.js';
import {
  buildDatastore,
  compactDatastore,
  Datastore,
  openKnnLM,
  readDocuments,
  removeDocuments,
} from '../../dist/index.js';
import { planWindows } from '../../dist/knnlm/windows.js';
import { floatsToHalf } from '../../dist/math/half.js';
import { headOfDocuments, median, round } from '../common.js';

const [docs, given = '2000000', tokens = 10_000] = process.argv.slice(2);
if (!docs) {
  throw new Error('usage: node bench/living/large-store.js DOCS.jsonl [STORE | ENTRIES] [TOKENS]');
}
const isMadeUp = /^\d+$/.test(given);
const LENGTH = 250;
const ROUNDS = 3;
const REMOVALS = 40;
const folder = mkdtempSync(join(tmpdir(), 'knnlm-large-'));
const timed = async (work) => {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const value = await work();
  const { user, system } = process.cpuUsage(cpu);
  return { value, ms: performance.now() - started, processorMs: (user + system) / 1000 };
};

/** A store of made-up keys that the bundled model may search. */
async function makeStore(path) {
  const head = join(folder, 'head.jsonl');
  await headOfDocuments(docs, 1, head);
  const small = join(folder, 'small');
  await buildDatastore([head], { out: small });
  const built = await Datastore.open(small);
  const { header } = built;
  await built.close();
  const writer = await DatastoreWriter.open(path, header);
  const { dim } = header.key;
  const floats = new Float32Array(LENGTH * dim);
  const halves = new Uint16Array(floats.length);
  for (let d = 0; d < Number(given) / LENGTH; d++) {
    for (let i = 0; i < floats.length; i++) floats[i] = 4 * Math.random() - 2;
    floatsToHalf(halves, floats);
    const id = `made-up/${d}`;
    const hash = d.toString(16).padStart(64, '0');
    await writer.beginDocument({ id, source: 'made up', hash, length: LENGTH });
    await writer.append(
      halves,
      Uint32Array.from({ length: LENGTH }, (_, i) => (d + i) % header.vocabSize),
    );
    await writer.endDocument();
  }
  await writer.finish({ k: 1024, lambda: 0.25, temperature: 1, source: 'default' });
}

/** Documents of so many tokens, different ones in each round. */
async function takeDocuments(model) {
  const rounds = [];
  let taken = [];
  let sum = 0;
  for await (const { id, text, source } of readDocuments([docs])) {
    const [ids] = await model.encodeDocuments([text]);
    taken.push({ id, text, source });
    sum += ids.length + 1;
    if (sum < Number(tokens)) continue;
    rounds.push({ documents: taken, tokens: sum });
    taken = [];
    sum = 0;
    if (rounds.length === ROUNDS) break;
  }
  return rounds;
}

/** Keys of all windows, as a build asks for them. */
async function readAlone({ model, datastore }, documents) {
  const encoded = await model.encodeDocuments(documents.map(({ text }) => text));
  const windows = encoded.flatMap((ids) => {
    const inputs = Int32Array.of(model.tokenizer.bos, ...ids);
    return [...planWindows(inputs.length, datastore.header)].map(({ start, length }) =>
      inputs.slice(start, start + length),
    );
  });
  for (let i = 0; i < windows.length; i += 16) await model.keys(windows.slice(i, i + 16));
}

const store = join(folder, 'store');
if (isMadeUp) await makeStore(store);
else cpSync(given, store, { recursive: true });
console.error('made');
const opening = await timed(() => openKnnLM(store));
const knnlm = opening.value;
const rounds = await takeDocuments(knnlm.model);
await readAlone(knnlm, rounds[0].documents);
const indexKind = knnlm.info.index.kind;
const results = [];
for (const { documents, tokens: size } of rounds) {
  const alone = await timed(() => readAlone(knnlm, documents));
  const added = await timed(() => knnlm.add(documents));
  const sentences = documents[0].text.slice(0, documents[0].text.indexOf('. ', 200) + 1);
  const { neighbors } = await knnlm.search(sentences, { k: 16 });
  const found = neighbors.some(({ document }) => document === documents[0].id);
  results.push({ size, aloneMs: alone.ms, addMs: added.ms, moreMs: added.ms - alone.ms, found });
  console.error(results.at(-1));
}
const { entries } = knnlm.datastore;
const stored = [...knnlm.datastore.documents].map(({ id }) => id);
const removals = { open: [], anew: [], processor: [] };
for (let i = 0; i < REMOVALS; i++) {
  const selection = { ids: [stored[Math.floor((i * stored.length) / REMOVALS)]] };
  // The open one is told of both.
  const { ms, processorMs } = await timed(() =>
    i % 2 === 0 ? knnlm.remove(selection) : removeDocuments(store, selection),
  );
  removals[i % 2 === 0 ? 'open' : 'anew'].push(ms);
  removals.processor.push(processorMs);
}
await knnlm.close();
const compaction = await timed(() => compactDatastore(store));
rmSync(folder, { recursive: true });
console.log(
  JSON.stringify({
    entries,
    documents: stored.length,
    index: indexKind,
    addedTokens: results.map(({ size }) => size),
    found: results.every(({ found }) => found),
    modelAloneMs: round(median(results.map(({ aloneMs }) => aloneMs)), 0),
    addAndFindMs: round(median(results.map(({ addMs }) => addMs)), 0),
    moreThanModelMs: results.map(({ moreMs }) => round(moreMs, 0)),
    removeMs: round(median(removals.anew), 1),
    removeSlowestMs: round(Math.max(...removals.anew), 1),
    removeOpenMs: round(median(removals.open), 1),
    removeOpenSlowestMs: round(Math.max(...removals.open), 1),
    removeProcessorMs: round(median(removals.processor), 1),
    openMs: round(opening.ms, 0),
    compactMs: round(compaction.ms, 0),
    peakMemoryMb: round(process.resourceUsage().maxRSS / 1024, 0),
  }),
);
