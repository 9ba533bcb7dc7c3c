/**
 * A query to all segments of a cluster, simulated: how long until the slowest has answered. The assumptions are the options.
 *
 *   node bench/scatter.js [--entries 1e9] [--dim 256] [--k 1024] [--share 0.03] [--queries 20000]
 *
 * An inverted file of 8-bit codes in segments of 1 GiB; each node searches its segments on its cores, first come, first
 * served. Noise is log-normal per segment; one message in a hundred takes ten times as long.
 */
import { parseArgs } from 'node:util';
import { percentile, round } from './common.js';

const { values } = parseArgs({
  options: {
    entries: { type: 'string', default: '1e9' },
    dim: { type: 'string', default: '256' },
    k: { type: 'string', default: '1024' },
    share: { type: 'string', default: '0.03' },
    queries: { type: 'string', default: '20000' },
  },
});
const [entries, dim, k, share, queries] = ['entries', 'dim', 'k', 'share', 'queries'].map((name) =>
  Number(values[name]),
);
const CORES = 16;
const SCAN_BYTES_PER_MS = 4e6;
const NOISE = 0.3;
const NETWORK_MS = 0.3;
const SLOW = { share: 0.01, times: 10 };
const MERGE_MS_PER_CANDIDATE = 1e-6;

let state = 1;
/** Uniform in [0, 1): Mulberry32. */
function uniform() {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
}
const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
const network = () => NETWORK_MS * (uniform() < SLOW.share ? SLOW.times : 1);

const segments = Math.ceil((entries * dim) / 2 ** 30);
const scanMs = ((entries / segments) * dim * share) / SCAN_BYTES_PER_MS;

/** Until all segments of one node are searched on its cores. */
function nodeMs(count) {
  const free = new Float64Array(CORES);
  for (let s = 0; s < count; s++) {
    let first = 0;
    for (let c = 1; c < CORES; c++) if (free[c] < free[first]) first = c;
    free[first] += scanMs * Math.exp(NOISE * normal() - (NOISE * NOISE) / 2);
  }
  return Math.max(...free) + count * k * Math.log2(Math.max(2, count)) * MERGE_MS_PER_CANDIDATE;
}

const rows = [];
for (const nodes of [6, 12, 24, 48]) {
  const times = Array.from({ length: queries }, () => {
    let slowest = 0;
    for (let node = 0; node < nodes; node++) {
      const own = Math.floor(segments / nodes) + (node < segments % nodes ? 1 : 0);
      slowest = Math.max(slowest, nodeMs(own) + network());
    }
    return slowest + nodes * k * Math.log2(nodes) * MERGE_MS_PER_CANDIDATE + network();
  });
  rows.push({
    nodes,
    medianMs: round(percentile(times, 0.5), 1),
    p99Ms: round(percentile(times, 0.99), 1),
    perSecond: Math.round((nodes * CORES * 1000) / (segments * scanMs)),
    mergedBytes: segments * k * 10,
  });
}
console.error(`${segments} segments, ${scanMs.toFixed(1)} ms of a core each`);
console.table(rows);
console.log(JSON.stringify({ segments, scanMs: round(scanMs, 2), rows }));
