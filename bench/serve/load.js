/**
 * Many streaming clients on one server: what do they get together, how smoothly, and does the server stay well?
 *
 *     node bench/serve/load.js STORE TEXT [--clients 64] [--seconds 20] [--rounds 3] [--tokens 64] [--minutes 0] [--knn JSON]
 *
 * Prompts are beginnings of documents of TEXT, another for every stream; texts are sampled, and may not end early. One client and many
 * take turns. The server is a process of its own, with its default settings but for as many slots as clients; clients run in this one. Told are tokens a second over all
 * clients, gaps between a stream's tokens, the longest time the server's event loop was held up, the longest that it worked without going round
 * (on Linux: the rest of the time it waited for a core), and with --minutes its memory while that many clients go on. `--knn` is the requests' field of that name, such as '{"effort": 0.25}'. JSON on the last line.
 */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { median, round } from '../common.js';
import { beginnings, stream } from './clients.js';
import { startMeasured } from './measured-server.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '20' },
    rounds: { type: 'string', default: '3' },
    tokens: { type: 'string', default: '64' },
    minutes: { type: 'string', default: '0' },
    knn: { type: 'string', default: '{}' },
  },
});
const [store, text] = positionals;
if (!store || !text) throw new Error('usage: node bench/serve/load.js STORE TEXT');
const clients = Number(options.clients);

const prompts = await beginnings(text, 256);
const server = await startMeasured(store, { concurrency: clients, queue: 4 * clients });
const body = (client, n) => ({
  prompt: prompts[(client * 31 + n) % prompts.length],
  max_tokens: Number(options.tokens),
  temperature: 0.8,
  seed: client * 1000 + n,
  logit_bias: { [server.eos]: -100 },
  knn: JSON.parse(options.knn),
});
const run = async (count, seconds) => {
  server.takeReports();
  const seen = await stream({ url: server.url, clients: count, seconds, body });
  const reports = server.takeReports();
  const delay = Math.max(...reports.map(({ delayMs }) => delayMs.max));
  const own = Math.max(...reports.map(({ ownMs = Number.NaN }) => ownMs));
  return { ...seen, eventLoopMaxMs: round(delay, 1), eventLoopOwnMs: round(own, 1), reports };
};

// Until code is compiled, and lists are in memory.
await run(16, 10);
const rounds = { one: [], many: [] };
for (let round_ = 0; round_ < Number(options.rounds); round_++) {
  for (const [name, count] of [
    ['one', 1],
    ['many', clients],
  ]) {
    const { reports: _, ...seen } = await run(count, Number(options.seconds));
    rounds[name].push(seen);
    console.log(name, JSON.stringify(seen));
  }
}
const rate = (name) => median(rounds[name].map(({ tokensPerSecond }) => tokensPerSecond));
const report = {
  store,
  model: server.model,
  entries: server.entries,
  cores: availableParallelism(),
  one: rate('one'),
  many: rate('many'),
  ratio: round(rate('many') / rate('one'), 2),
  errors: [...rounds.one, ...rounds.many].reduce((sum, { errors }) => sum + errors, 0),
  gapMs: rounds.many.map(({ gapMs }) => gapMs),
  eventLoopMaxMs: rounds.many.map(({ eventLoopMaxMs }) => eventLoopMaxMs),
  eventLoopOwnMs: rounds.many.map(({ eventLoopOwnMs }) => eventLoopOwnMs),
};
if (Number(options.minutes) > 0) report.endurance = await endure(Number(options.minutes));
server.stop();
console.log(JSON.stringify(report));

/** Memory over minutes: the slope after the first fifth, while caches fill. */
async function endure(minutes) {
  const { reports, ...seen } = await run(clients, 60 * minutes);
  const settled = reports.slice(Math.floor(reports.length / 5));
  const megabytes = settled.map(({ rss }) => rss / 2 ** 20);
  return {
    ...seen,
    minutes,
    rssMiB: {
      first: Math.round(megabytes[0]),
      last: Math.round(megabytes.at(-1)),
      most: Math.round(Math.max(...megabytes)),
    },
    rssMiBPerMinute: round(60 * slope(megabytes), 2),
    heapMiBPerMinute: round(60 * slope(settled.map(({ heapUsed }) => heapUsed / 2 ** 20)), 2),
    eventLoopOwnMaxMs: round(Math.max(...settled.map(({ ownMs = Number.NaN }) => ownMs)), 1),
    eventLoopP99Ms: round(median(settled.map(({ delayMs }) => delayMs.p99)), 1),
  };
}

/** Least squares, per step. */
function slope(values) {
  const middle = (values.length - 1) / 2;
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  let [up, down] = [0, 0];
  for (const [i, value] of values.entries()) {
    up += (i - middle) * (value - mean);
    down += (i - middle) ** 2;
  }
  return up / down;
}
