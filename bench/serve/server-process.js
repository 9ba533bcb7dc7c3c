/**
 * A server for benchmarks that tells its parent every second how long its event loop was held up, and of its memory; and, asked by any
 * message, how much processor time it has had.
 *
 *     fork('server-process.js', [STORE, JSON of options])
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openKnnLM } from '../../dist/index.js';
import { serve } from '../../dist/server/index.js';

const [store, options] = process.argv.slice(2);
const knnlm = await openKnnLM(store);
await knnlm.query([]);
const listening = await serve(knnlm, { port: 0, page: false, ...JSON.parse(options ?? '{}') });
const { eos } = knnlm.model.tokenizer;
process.send({
  url: listening.url,
  model: knnlm.model.info.name,
  entries: knnlm.info.entries,
  eos,
});

const RESOLUTION_MS = 1;
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
setInterval(() => {
  const { rss, heapUsed } = process.memoryUsage();
  // It measures from one of its timers to the next.
  const ms = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  process.send({
    delayMs: { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) },
    rss,
    heapUsed,
  });
  delay.reset();
}, 1000).unref();
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpuMs: (user + system) / 1000 });
});
process.on('disconnect', () => process.exit());
