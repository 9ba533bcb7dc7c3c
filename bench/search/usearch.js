// usearch (HNSW, the JavaScript package) as another side of ivf.js. It is no dependency of this project: --usearch names a folder in
// which it was installed (npm install usearch). Its search width is set when an index is opened, so one is opened per width.
import { statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { builtOnce, SINGLE_QUERIES } from './engines.js';

/** Keys added at once. */
const ROWS = 20_000;

/**
 * @param {string} place folder whose node_modules holds usearch
 * @param {object} input dim, n, k, q, threads, folder for files, queries (q, dim), readRows(first, count) → (count, dim)
 */
export async function startUsearch(place, input) {
  const { dim, n, k, q, threads, queries, readRows, widths } = input;
  const { Index } = createRequire(join(place, 'x.js'))('usearch');
  const settings = { dimensions: dim, metric: 'l2sq', quantization: 'f16', connectivity: 32 };
  const file = join(input.folder, 'usearch');
  const { buildSeconds, memoryBytes } = await builtOnce(`${file}.json`, async () => {
    const before = process.memoryUsage().rss;
    const built = new Index({ ...settings, expansion_add: 128, expansion_search: k, multi: false });
    for (let first = 0; first < n; first += ROWS) {
      const count = Math.min(ROWS, n - first);
      const ids = BigUint64Array.from({ length: count }, (_, i) => BigInt(first + i));
      built.add(ids, await readRows(first, count), threads);
    }
    const after = process.memoryUsage().rss;
    built.save(file);
    return { memoryBytes: after - before };
  });
  const opened = new Map();
  const at = (width) => {
    if (!opened.has(width)) {
      const index = new Index({
        ...settings,
        expansion_add: 128,
        expansion_search: width,
        multi: false,
      });
      index.load(file);
      opened.set(width, index);
    }
    return opened.get(width);
  };
  return {
    name: 'usearch HNSW32, fp16',
    settings: widths,
    buildSeconds,
    diskBytes: statSync(file).size,
    memoryBytes,
    async batch(width, times) {
      const index = at(width);
      const start = performance.now();
      const found = index.search(queries, k, threads);
      times.push(performance.now() - start);
      return {
        k,
        ids: Int32Array.from(found.keys, Number),
        distances: Float32Array.from(found.distances),
      };
    },
    async single(width, times) {
      const index = at(width);
      for (let i = 0; i < Math.min(q, SINGLE_QUERIES); i++) {
        const query = queries.slice(i * dim, (i + 1) * dim);
        const start = performance.now();
        index.search(query, k, threads);
        times.push(performance.now() - start);
      }
    },
    close: async () => undefined,
  };
}
