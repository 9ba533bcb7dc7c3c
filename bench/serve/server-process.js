/**
 * A server for benchmarks that tells its parent every second how long its event loop was held up, how much of the longest times was work of its own
 * and not waiting for a core (on Linux), and of its memory; and, asked by any message, how much processor time it has had.
 *
 *     fork('server-process.js', [STORE, JSON of options])
 */
import { openSync, readSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { openKnnLM } from '../../dist/index.js';
import { giveHeapRoom, serve } from '../../dist/server/index.js';

const [store, options] = process.argv.slice(2);
const knnlm = await openKnnLM(store);
await knnlm.query([]);
// As `knnlm serve` does.
giveHeapRoom();
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
/** Processor time of this thread so far, in milliseconds. */
const schedule =
  process.platform === 'linux' ? openSync(`/proc/self/task/${process.pid}/schedstat`) : undefined;
const text = Buffer.alloc(64);
const ownMs = () =>
  Number.parseInt(text.toString('latin1', 0, readSync(schedule, text, 0, 64, 0)), 10) / 1e6;
let longestOwn = 0;
if (schedule !== undefined) {
  let before = ownMs();
  setInterval(() => {
    const now = ownMs();
    longestOwn = Math.max(longestOwn, now - before);
    before = now;
  }, RESOLUTION_MS).unref();
}
setInterval(() => {
  const { rss, heapUsed } = process.memoryUsage();
  // It measures from one of its timers to the next.
  const ms = (nanoseconds) => Math.max(0, nanoseconds / 1e6 - RESOLUTION_MS);
  process.send({
    delayMs: { p50: ms(delay.percentile(50)), p99: ms(delay.percentile(99)), max: ms(delay.max) },
    ...(schedule !== undefined && { ownMs: longestOwn }),
    rss,
    heapUsed,
  });
  longestOwn = 0;
  delay.reset();
}, 1000).unref();
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send({ cpuMs: (user + system) / 1000 });
});
process.on('disconnect', () => process.exit());
