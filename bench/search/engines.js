// The engines that ivf.js compares, all with the same face: a name, the settings it is tried at, `batch` (all queries at once)
// and `single` (one by one), which add their milliseconds to `times`; `batch` answers what was found. What was built lies in
// `folder`, and is taken from there when it is there, with the time it took.
import { spawn } from 'node:child_process';
import { closeSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { FlatIndex } from '../../dist/indexes/flat-index.js';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { listLayout } from '../../dist/indexes/ivf/lists-file.js';
import { openTable } from '../../dist/indexes/ivf/open-table.js';

/** Single queries that are timed per round. */
export const SINGLE_QUERIES = 200;

/** Builds once per folder. @returns what building told, with its seconds */
export async function builtOnce(path, build) {
  if (existsSync(path)) return JSON.parse(readFileSync(path, 'utf8'));
  const started = performance.now();
  const told = await build();
  const built = { buildSeconds: (performance.now() - started) / 1000, ...told };
  writeFileSync(path, JSON.stringify(built));
  return built;
}

/** Times searches of this project's own indexes. */
function timed(index, { queries, q, k, dim }, optionsOf) {
  const search = async (some, setting, times) => {
    const start = performance.now();
    const found = await index.search(some, { k, ...optionsOf(setting) });
    times.push(performance.now() - start);
    return found;
  };
  return {
    memoryBytes: index.memoryBytes,
    batch: (setting, times) => search(queries, setting, times),
    async single(setting, times) {
      for (let i = 0; i < Math.min(q, SINGLE_QUERIES); i++) {
        await search(queries.slice(i * dim, (i + 1) * dim), setting, times);
      }
    },
    close: () => index.close(),
  };
}

/** Exact search. */
export async function startFlat(input) {
  const { keys, dim, threads, memoryBytes } = input;
  const started = performance.now();
  const index = await FlatIndex.open({ sources: [keys], dim, threads, memoryBytes });
  const buildSeconds = (performance.now() - started) / 1000;
  const name = 'knnlm, exact';
  return {
    name,
    settings: [undefined],
    buildSeconds,
    diskBytes: 0,
    ...timed(index, input, () => ({})),
  };
}

/** The inverted file, once per weight of the lists' spread. */
export async function startIvf(input) {
  const { keys, dim, threads, memoryBytes, folder, probes, weights } = input;
  const sources = [keys];
  const { header, buildSeconds } = await builtOnce(join(folder, 'knnlm.json'), async () => {
    return { header: await buildIvf({ folder, sources, dim, threads }) };
  });
  const index = await IvfIndex.open({ folder, sources, threads, memoryBytes, header });
  return weights.map((spreadWeight, w) => ({
    name: w === 0 ? 'knnlm' : `knnlm, spread × ${spreadWeight}`,
    settings: probes,
    lists: 2 ** Math.round(Math.log2(header.lists)),
    buildSeconds,
    diskBytes: header.file.bytes,
    bytesOf: (setting) => scannedBytes(input, header, { probes: setting, spreadWeight }),
    ...timed(index, input, (setting) => ({ probes: setting, spreadWeight })),
  }));
}

/** Bytes that a query reads on average: all centroids, and the lists chosen as `list-search.ts` chooses them. */
function scannedBytes({ folder, queries, q, dim }, header, { probes, spreadWeight }) {
  const { handle, layout, bytes, rows, space } = openTable(join(folder, header.file.name), header);
  closeSync(handle);
  const scales = new Float32Array(bytes.buffer, layout.scales, rows.length);
  const spreads = new Float32Array(bytes.buffer, layout.spreads, rows.length);
  const centroids = Float32Array.from({ length: rows.length * dim }, (_, i) => {
    const [list, j] = [Math.floor(i / dim), i % dim];
    return scales[list] * space.scale[j] * (bytes[layout.codes + list * layout.padded + j] - 128);
  });
  let total = 0;
  for (let i = 0; i < q; i++) {
    const z = Float32Array.from({ length: dim }, (_, j) => {
      return (queries[i * dim + j] - space.mean[j]) / space.unit;
    });
    const nearest = Array.from(rows, (count, list) => {
      let distance = spreadWeight * spreads[list];
      for (let j = 0; j < dim; j++) distance += (z[j] - centroids[list * dim + j]) ** 2;
      return { distance, count };
    }).sort((a, b) => a.distance - b.distance);
    for (const { count } of nearest.slice(0, probes))
      total += listLayout(count, layout.padded).bytes;
  }
  return total / q + rows.length * layout.padded;
}

/** FAISS in Python. @param index its factory's name for it */
export async function startFaiss(index, input) {
  const { python, keys, querySource, picks, n, q, k, threads, lists, folder } = input;
  const script = fileURLToPath(new URL('faiss_ivf.py', import.meta.url));
  const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (message) => {
    child.stdin.write(`${JSON.stringify(message)}\n`);
    const { value, done } = await lines.next();
    if (done) throw new Error(`FAISS ended while it was asked for ${index}`);
    return JSON.parse(value);
  };
  const path = join(folder, `${index}.faiss`);
  const settings = { index, keys, queries: querySource, picks, n, k, threads, lists, path };
  const about = await ask(settings);
  const { buildSeconds } = await builtOnce(`${path}.json`, async () => about);
  const out = join(folder, 'faiss');
  const column = (suffix, Type) =>
    new Type(new Uint8Array(readFileSync(`${out}.${suffix}`)).buffer);
  return {
    name: `faiss ${index}`,
    settings: settingsOf(index, input),
    buildSeconds,
    diskBytes: about.diskBytes,
    memoryBytes: about.memoryBytes,
    async batch(setting, times) {
      const answer = await ask({ batch: q, count: q, setting, out });
      times.push(answer.times[0] * 1000);
      return { k, ids: column('ids', Int32Array), distances: column('distances', Float32Array) };
    },
    async single(setting, times) {
      const answer = await ask({ batch: 1, count: Math.min(q, SINGLE_QUERIES), setting });
      times.push(...answer.times.map((seconds) => seconds * 1000));
    },
    close: async () => child.stdin.end(),
  };
}

function settingsOf(index, { probes, widths }) {
  if (index === 'Flat') return [undefined];
  return index.startsWith('HNSW') ? widths : probes;
}
