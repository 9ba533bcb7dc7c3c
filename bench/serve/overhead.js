/**
 * What does memory cost? Tokens a second with it and without (λ = 0: nothing is searched), by one client and by 16.
 *
 *     node bench/serve/overhead.js STORE TEXT [--clients 1,16] [--seconds 15] [--rounds 4] [--tokens 64]
 *
 * The two take turns within one run of the server, and the ratio of each pair counts. JSON on the last line.
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
const run = (clients, knn, seconds = Number(options.seconds)) =>
  stream({ url: server.url, clients, seconds, body: body(knn) });
const alone = { knn: { lambda: 0 } };

await run(4, {}, 3);
const report = { store, model: server.model, entries: server.entries };
for (const clients of options.clients.split(',').map(Number)) {
  const pairs = [];
  for (let i = 0; i < Number(options.rounds); i++) {
    const without = await run(clients, alone);
    const withMemory = await run(clients, {});
    pairs.push({ without, with: withMemory });
    console.log(clients, without.tokensPerSecond, withMemory.tokensPerSecond);
  }
  const rates = (name) => pairs.map((pair) => pair[name].tokensPerSecond);
  const ratios = pairs.map((pair) => pair.with.tokensPerSecond / pair.without.tokensPerSecond);
  report[`clients${clients}`] = {
    without: median(rates('without')),
    with: median(rates('with')),
    share: round(median(ratios), 3),
    shares: ratios.map((ratio) => round(ratio, 3)),
    errors: pairs.reduce((sum, pair) => sum + pair.without.errors + pair.with.errors, 0),
  };
}
server.stop();
console.log(JSON.stringify(report));
