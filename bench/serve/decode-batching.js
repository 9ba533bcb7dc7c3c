/**
 * How many tokens a second do many texts get that are generated at the same time, with and without a memory?
 *
 *     node bench/serve/decode-batching.js STORE [--clients 1,4,16,64] [--rounds 3] [--seconds 8] [--prompt 32] [--tokens 64]
 *
 * Each client continues one prompt after another, pieces of the store's own documents of PROMPT / 2 to PROMPT · 3 / 2 tokens, by at
 * most TOKENS tokens each, greedily, with four neighbors told per token. For each number of clients, model alone (λ = 0) and
 * mixture in turns; a phase runs for SECONDS after a second of warming up. Reported are medians of the rounds: tokens per second of
 * all clients together, the gaps between a text's tokens, the longest time that the event loop was blocked (a 1 ms timer in this
 * process), and the process's memory. JSON on the last line. `--soak MINUTES` runs the mixture with the last number of clients for so long
 * instead and reports the memory minute by minute.
 */
import { parseArgs } from 'node:util';
import { openKnnLM } from '../../dist/index.js';
import { median, percentile, round } from '../common.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: 'string', default: '1,4,16,64' },
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '8' },
    prompt: { type: 'string', default: '32' },
    tokens: { type: 'string', default: '64' },
    soak: { type: 'string' },
  },
});
const [store] = positionals;
if (!store)
  throw new Error('usage: node bench/serve/decode-batching.js STORE [--clients 1,4,16,64]');
const counts = values.clients.split(',').map(Number);
const [rounds, seconds, prompt, tokens] = ['rounds', 'seconds', 'prompt', 'tokens'].map((name) =>
  Number(values[name]),
);
const MIXTURE = undefined;
const ALONE = { lambda: 0 };

const knnlm = await openKnnLM(store);
const { datastore } = knnlm;
const documents = [...datastore.documents].filter(({ length }) => length > 2 * prompt);
let seed = 1;
/** The n-th piece of a document, the same in every run. */
async function nextPrompt() {
  const random = () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const { start, length } = documents[Math.floor(random() * documents.length)];
  const size = Math.round(prompt * (0.5 + random()));
  const from = start + Math.floor(random() * (length - size));
  return [...(await datastore.valueRange(from, from + size))];
}

async function phase(clients, knn, ms) {
  let counting = false;
  let running = true;
  let made = 0;
  const gaps = [];
  const client = async () => {
    while (running) {
      let last;
      for await (const _ of knnlm.generate(await nextPrompt(), { maxTokens: tokens, knn })) {
        const now = performance.now();
        if (counting) {
          made++;
          if (last !== undefined) gaps.push(now - last);
        }
        last = now;
        if (!running) break;
      }
    }
  };
  const stalls = [];
  let tick = performance.now();
  const timer = setInterval(() => {
    const now = performance.now();
    if (counting) stalls.push(now - tick);
    tick = now;
  }, 1);
  const done = Promise.all(Array.from({ length: clients }, client));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  counting = true;
  const { searchMs } = knnlm.retriever;
  const started = performance.now();
  const cpu = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, ms));
  counting = false;
  running = false;
  const elapsed = performance.now() - started;
  const { user, system } = process.cpuUsage(cpu);
  clearInterval(timer);
  await done;
  return {
    tokensPerSecond: made / (elapsed / 1000),
    gapP50Ms: percentile(gaps, 0.5),
    gapP99Ms: percentile(gaps, 0.99),
    stallP999Ms: percentile(stalls, 0.999),
    stallMs: Math.max(...stalls),
    searchMs: (knnlm.retriever.searchMs - searchMs) / made,
    cores: (user + system) / 1000 / elapsed,
    rssMiB: process.memoryUsage().rss / 2 ** 20,
  };
}

const medians = (results) =>
  Object.fromEntries(
    Object.keys(results[0]).map((name) => [name, round(median(results.map((r) => r[name])), 2)]),
  );

async function compare() {
  const table = [];
  for (const clients of counts) {
    const [alone, mixture] = [[], []];
    for (let r = 0; r < rounds; r++) {
      alone.push(await phase(clients, ALONE, seconds * 1000));
      mixture.push(await phase(clients, MIXTURE, seconds * 1000));
    }
    const row = { clients, alone: medians(alone), mixture: medians(mixture) };
    row.share = round(
      median(mixture.map((m, r) => m.tokensPerSecond / alone[r].tokensPerSecond)),
      3,
    );
    row.longestStallMs = round(Math.max(...mixture.map(({ stallMs }) => stallMs)), 1);
    table.push(row);
    console.error(JSON.stringify(row));
  }
  const one = table.find(({ clients }) => clients === 1);
  if (one) {
    for (const row of table) {
      row.timesOne = round(row.mixture.tokensPerSecond / one.mixture.tokensPerSecond, 2);
    }
  }
  return table;
}

async function soak(minutes) {
  const clients = counts.at(-1);
  const course = [];
  for (let minute = 0; minute < minutes; minute++) {
    const result = await phase(clients, MIXTURE, 59_000);
    course.push(Object.fromEntries(Object.entries(result).map(([k, v]) => [k, round(v, 1)])));
    console.error(minute + 1, JSON.stringify(course.at(-1)));
  }
  return { clients, course };
}

const { entries, settings } = knnlm.info;
const { k, lambda, temperature } = settings;
const result = values.soak ? await soak(Number(values.soak)) : await compare();
await knnlm.close();
console.log(
  JSON.stringify({
    entries,
    settings: { k, lambda, temperature, gate: settings.gate !== undefined },
    model: knnlm.model.info.name,
    prompt,
    tokens,
    result,
  }),
);
