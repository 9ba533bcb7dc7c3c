/**
 * What does memory cost? Tokens a second with it and without (λ = 0: nothing is searched), by one client and by 16.
 *
 *     node bench/serve/overhead.js STORE TEXT [--clients 1,16] [--seconds 15] [--rounds 4] [--tokens 64] [--knn JSON]
 *
 * `--knn` is the requests' field of that name, such as '{"effort": 0.25}'. The two take turns within one run of the server, and the ratio of each pair counts. Beside it the server's processor time per token, all threads
 * together, which others on the machine change less. JSON on the last line.
 */
import { parseArgs } from 'node:util';
import { median, round } from '../common.js';
import { beginnings, stream } from './clients.js';
import { startMeasured } from './measured-server.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: { type: 'string', default: '1,16' },
    seconds: { type: 'string', default: '15' },
    rounds: { type: 'string', default: '4' },
    tokens: { type: 'string', default: '64' },
    knn: { type: 'string', default: '{}' },
  },
});
const [store, text] = positionals;
if (!store || !text) throw new Error('usage: node bench/serve/overhead.js STORE TEXT');

const prompts = await beginnings(text, 128);
const server = await startMeasured(store, { concurrency: 16 });
const body = (knn) => (client, n) => ({
  prompt: prompts[(client * 31 + n) % prompts.length],
  max_tokens: Number(options.tokens),
  temperature: 0.8,
  seed: client * 1000 + n,
  logit_bias: { [server.eos]: -100 },
  ...knn,
});
const run = async (clients, knn, seconds = Number(options.seconds)) => {
  const before = await server.cpuMs();
  const seen = await stream({ url: server.url, clients, seconds, body: body(knn) });
  return { ...seen, cpuMs: ((await server.cpuMs()) - before) / seen.tokens };
};
const alone = { knn: { lambda: 0 } };
const memory = { knn: JSON.parse(options.knn) };

// Until code is compiled, and lists are in memory.
await run(16, memory, 10);
const report = { store, knn: memory.knn, model: server.model, entries: server.entries };
for (const clients of options.clients.split(',').map(Number)) {
  const pairs = [];
  for (let i = 0; i < Number(options.rounds); i++) {
    const without = await run(clients, alone);
    const withMemory = await run(clients, memory);
    pairs.push({ without, with: withMemory });
    for (const { tokensPerSecond, cpuMs, gapMs } of [without, withMemory])
      console.log(clients, tokensPerSecond, round(cpuMs, 2), JSON.stringify(gapMs));
  }
  const all = (name, figure) => pairs.map((pair) => pair[name][figure]);
  const ratios = pairs.map((pair) => pair.with.tokensPerSecond / pair.without.tokensPerSecond);
  const cpuMs = (name) => round(median(all(name, 'cpuMs')), 2);
  report[`clients${clients}`] = {
    without: median(all('without', 'tokensPerSecond')),
    with: median(all('with', 'tokensPerSecond')),
    cpuMsPerToken: { without: cpuMs('without'), with: cpuMs('with') },
    share: round(median(ratios), 3),
    shares: ratios.map((ratio) => round(ratio, 3)),
    errors: pairs.reduce((sum, pair) => sum + pair.without.errors + pair.with.errors, 0),
  };
}
server.stop();
console.log(JSON.stringify(report));
