/**
 * A store searched on Milvus against the same store searched here.
 *
 *   node bench/milvus.js STORE TEXT [--python PY] [--url milvus://HOST:PORT] [--index TYPE] [--tokens 2000]
 *                        [--parts golden,quality,speed,overhead] [--models stories260K,wiki-mini]
 *
 * --index:  in place of the type that the number of entries gives (`IVF_FLAT`, say).
 * golden:   the reference numbers of test/fixtures/golden through an exact index on Milvus, of --models.
 * quality:  perplexity of TEXT with the index that STORE gets there, over that of exact search here.
 * speed:    tokens per second of evaluation and generation, there, there by a client that has only the address, and here, in turn,
 *           medians of four turns.
 * overhead: MilvusIndex.search, with exact distances as a store is searched by default and with the server's (rerank 0), over the bare
 *           client's search call with the same vectors, keys of TEXT, in turn: medians and quartiles of each turn's ratio.
 *
 * Without --url a Milvus Lite is started (pip install milvus-lite pymilvus). It is Python that goes through every row of a
 * collection for every request: its times say nothing of a cluster's, ratios of quality and of overhead do.
 * STORE is copied and not changed. One that is on Milvus already (of --url) is searched there as it is.
 */
import { spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import {
  buildDatastore,
  indexOnMilvus,
  interpolate,
  knnLogProbOf,
  openKnnLM,
  readDocuments,
  removeIndex,
} from '../dist/index.js';
import { readMilvusHeader } from '../dist/indexes/milvus/milvus-header.js';
import { MilvusIndex } from '../dist/indexes/milvus/milvus-index.js';
import { loadMilvusSdk } from '../dist/indexes/milvus/milvus-sdk.js';
import { readTokens } from '../dist/knnlm/read-tokens.js';
import { neighborRow } from '../dist/knnlm/retriever.js';
import { planWindows } from '../dist/knnlm/windows.js';
import { median, percentile, round } from './common.js';

const fixtures = fileURLToPath(new URL('../test/fixtures/', import.meta.url));
const QUERIES_AT_ONCE = 128;

const PROMPT = 'The nurse should first assess the patient for';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    python: { type: 'string', default: 'python3' },
    url: { type: 'string' },
    index: { type: 'string' },
    tokens: { type: 'string', default: '2000' },
    parts: { type: 'string', default: 'golden,quality,speed,overhead' },
    models: { type: 'string', default: 'stories260K,wiki-mini' },
  },
});
const [storeGiven, text] = positionals;
const parts = options.parts.split(',');
const root = mkdtempSync(join(tmpdir(), 'knnlm-bench-milvus-'));
const server = options.url ? undefined : await startLite(join(root, 'server'));
const url = (collection) => `${options.url ?? `milvus://127.0.0.1:${server.port}`}/${collection}`;
const result = { server: options.url ?? 'Milvus Lite on this machine' };
const say = (what, value) => console.error(`${what}: ${JSON.stringify(value)}`);

try {
  if (parts.includes('golden')) {
    result.golden = {};
    for (const [name, model, corpus] of [
      ['stories260K', `${fixtures}models/stories260K`, 'tinystories'],
      ['wiki-mini', 'wiki-mini', 'medical'],
    ]) {
      if (!options.models.split(',').includes(name)) continue;
      result.golden[name] = await golden(name, model, corpus);
      say(name, result.golden[name]);
    }
  }
  if (parts.some((part) => part !== 'golden')) await compare();
} finally {
  server?.child.stdin.end();
  rmSync(root, { recursive: true, force: true });
}
console.log(JSON.stringify(result));

async function startLite(folder) {
  const program =
    'import os, sys\nfrom milvus_lite.adapter.grpc.server import start_server_in_thread as start\n' +
    'server, db, port = start(sys.argv[1], port=0)\nprint(port, flush=True)\nsys.stdin.read()\nos._exit(0)';
  const child = spawn(options.python, ['-c', program, folder], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  for await (const line of createInterface({ input: child.stdout }))
    return { child, port: Number(line) };
  throw new Error('Milvus Lite did not start: pip install milvus-lite pymilvus, and --python PY.');
}

/** Largest differences from the reference. */
async function golden(name, model, corpus) {
  const reference = JSON.parse(readFileSync(`${fixtures}golden/${name}.golden.json`, 'utf8'));
  const { window, stride } = reference;
  const out = join(root, name);
  const build = {
    out,
    model,
    window,
    stride,
    keyDtype: 'fp32',
    index: url(name.replace('-', '_')),
  };
  const built = await buildDatastore([`${fixtures}golden/${corpus}.train.jsonl`], {
    ...build,
    settings: { k: 1024 },
  });
  const memory = await openKnnLM(out);
  const worst = { logProb: 0, distance: 0, perplexity: 0 };
  const nll = {};
  let count = 0;
  try {
    let i = 0;
    for await (const document of readDocuments([`${fixtures}golden/${corpus}.valid.jsonl`])) {
      const row = reference.documents[i++];
      const { lm, found, targets } = await retrieveAll(memory, document, reference);
      count += targets.length;
      nll.lm = lm.reduce((sum, x) => sum - x, nll.lm ?? 0);
      for (const [setting, { mixture }] of Object.entries(row.knn)) {
        const [k, temperature, lambda] = [...setting.matchAll(/=([\d.]+)/g)].map(([, x]) => +x);
        for (const [t, target] of targets.entries()) {
          const knn = knnLogProbOf(target, neighborRow(found, t, k), temperature);
          const mixed = interpolate(lm[t], knn, lambda);
          worst.logProb = Math.max(worst.logProb, Math.abs(mixed - mixture[t]));
          nll[setting] = (nll[setting] ?? 0) - mixed;
        }
      }
      for (const { target, squared_distances: wanted } of row.first_neighbours)
        for (const [j, distance] of wanted.entries()) {
          const seen = found.distances[target * found.k + j];
          worst.distance = Math.max(
            worst.distance,
            Math.abs(seen - distance) / Math.max(1e-6, distance),
          );
        }
    }
    for (const [setting, perplexity] of Object.entries(reference.perplexity)) {
      const off = Math.abs(Math.exp(nll[setting] / count) / perplexity - 1);
      worst.perplexity = Math.max(worst.perplexity, off);
    }
  } finally {
    await memory.close();
  }
  const { type, recall } = built.index;
  return {
    type,
    recall,
    targets: count,
    settings: Object.keys(reference.perplexity).length,
    ...worst,
  };
}

/** log p_LM of every target of a text, and each one's 1,024 neighbors. */
async function retrieveAll({ model, retriever, datastore }, document, plan) {
  const d = datastore.keyDim;
  const { lm, targets, queries } = await readKeys({ model, d }, document, plan);
  return { lm, targets, found: await retrieveInParts(retriever, queries, d) };
}

async function readKeys({ model, d }, document, plan) {
  const { inputs, targets } = await readTokens(document, model);
  const lm = new Float64Array(targets.length);
  const queries = new Float32Array(targets.length * d);
  for (const { start, length, seen } of planWindows(inputs.length, plan)) {
    const part = [start, start + length];
    const [scored] = await model.score([inputs.slice(...part)], [targets.slice(...part)]);
    lm.set(scored.logProbs.subarray(seen), start + seen);
    queries.set(scored.keys.subarray(seen * d), (start + seen) * d);
  }
  return { lm, targets, queries };
}

/** A part at a time, so that one sees how far it is. */
async function retrieveInParts(retriever, queries, d) {
  const [k, total] = [1024, queries.length / d];
  const whole = { k, ids: new Int32Array(total * k), distances: new Float32Array(total * k) };
  whole.values = new Uint32Array(total * k);
  for (let at = 0; at < total; at += QUERIES_AT_ONCE) {
    const part = queries.slice(at * d, (at + QUERIES_AT_ONCE) * d);
    const found = await retriever.retrieve(part, { k });
    for (const field of ['ids', 'distances', 'values']) whole[field].set(found[field], at * k);
    process.stderr.write(`\r${at + part.length / d} of ${total} targets `);
  }
  return whole;
}

async function compare() {
  const there = join(root, 'there');
  const here = join(root, 'here');
  for (const path of [there, here]) cpSync(storeGiven, path, { recursive: true });
  const isThere = (await readMilvusHeader(join(there, 'index'))) !== undefined;
  await removeIndex(here);
  if (!isThere) await send(there);
  const stores = {
    there: await openKnnLM(there),
    ...(!isThere && { address: await openKnnLM(url('bench')) }),
    here: await openKnnLM(here),
  };
  try {
    if (parts.includes('quality')) result.quality = await quality(stores);
    if (parts.includes('speed')) result.speed = await speed(stores);
    if (parts.includes('overhead')) result.overhead = await overhead(stores.there, there);
  } finally {
    await Promise.all(Object.values(stores).map((store) => store.close()));
  }
}

async function send(there) {
  await removeIndex(there);
  const { seconds, trials, settings, index, recall, error, notes, entries } = await indexOnMilvus(
    there,
    {
      url: url('bench') + (options.index ? `?index=${options.index}` : ''),
      onWarning: (message) => console.error(message),
      onProgress: ({ phase, done, total }) =>
        process.stderr.write(`\r${phase} ${done} of ${total ?? '?'} `),
    },
  );
  result.index = { entries, ...index, settings, recall, error, notes, trials };
  result.index.seconds = round(seconds, 1);
  say('\nindex', result.index);
}

function evaluate(store, maxTokens) {
  return store.evaluate(readDocuments([text]), { maxTokens });
}

async function quality({ there, here }) {
  const [a, b] = [await evaluate(there, +options.tokens), await evaluate(here, +options.tokens)];
  const found = {
    tokens: a.tokens,
    settings: a.settings,
    lm: a.lm.perplexity,
    there: a.knnlm.perplexity,
    here: b.knnlm.perplexity,
    ratio: a.knnlm.perplexity / b.knnlm.perplexity,
  };
  say('quality', found);
  return found;
}

async function speed(stores) {
  const tokens = { evaluation: Math.min(512, +options.tokens), generation: 24 };
  const work = {
    evaluation: (store) => evaluate(store, tokens.evaluation),
    generation: async (store) => {
      for await (const _ of store.generate(PROMPT, { maxTokens: tokens.generation }));
    },
  };
  const rates = {};
  for (const [name, run] of Object.entries(work)) {
    const seen = { there: [], address: [], here: [] };
    for (const store of Object.values(stores)) await run(store);
    for (let turn = 0; turn < 4; turn++)
      for (const [place, store] of Object.entries(stores)) {
        const started = performance.now();
        await run(store);
        seen[place].push((tokens[name] / (performance.now() - started)) * 1000);
      }
    const [there, address, here] = Object.values(seen).map(median);
    rates[name] = {
      there: round(there, 1),
      address: round(address, 1),
      here: round(here, 1),
      ratio: round(there / here, 3),
    };
    say(name, rates[name]);
  }
  return rates;
}

/** The whole of a search with ids, values and distances as typed arrays, over the client's call that returns its rows. */
async function overhead(store, path) {
  const header = await readMilvusHeader(join(path, 'index'));
  const index = new MilvusIndex({ header, sources: store.datastore.keySources() });
  const { MilvusClient } = await loadMilvusSdk();
  const { host, pathname } = new URL(header.url.replace('milvus', 'http'));
  const client = new MilvusClient({ address: host, telemetry: { enabled: false } });
  await client.connectPromise;
  const { params } = header.settings;
  const bare = (data, limit) =>
    client.search({
      collection_name: pathname.slice(1),
      partition_names: [header.partition.name],
      anns_field: 'key',
      data,
      limit,
      params,
      metric_type: 'L2',
      output_fields: ['id', 'value'],
    });
  const d = header.dim;
  const keys = await keysOfText(store, d);
  const found = [];
  for (const k of [32, 1024])
    for (const q of [1, 16]) {
      const runs = {
        bare: (queries) =>
          bare(
            Array.from({ length: q }, (_, i) => queries.slice(i * d, (i + 1) * d)),
            k,
          ),
        exact: (queries) => index.search(queries, { k, rerank: 1 }),
        servers: (queries) => index.search(queries, { k, rerank: 0 }),
      };
      const all = Math.floor(keys.length / (q * d));
      const turns = k * q > 10_000 ? 15 : 60;
      const seen = await timeInTurn(turns, runs, (turn) =>
        keys.slice((turn % all) * q * d, ((turn % all) + 1) * q * d),
      );
      const ofTurns = (name) => seen[name].map((ms, turn) => ms / seen.bare[turn]);
      found.push({
        k,
        queries: q,
        bareMs: round(median(seen.bare), 1),
        exactMs: round(median(seen.exact), 1),
        exact: quartiles(ofTurns('exact')),
        servers: quartiles(ofTurns('servers')),
      });
      say('overhead', found.at(-1));
    }
  await Promise.all([client.closeConnection(), index.close()]);
  return found;
}

/** (q, d) of the first text of 240 tokens or more. */
async function keysOfText({ model, datastore }, d) {
  for await (const document of readDocuments([text])) {
    const { queries } = await readKeys({ model, d }, document, datastore.header);
    if (queries.length >= 240 * d) return queries;
  }
  throw new Error(`${text} has no document of 240 tokens.`);
}

/** Milliseconds of each run, every turn with vectors of its own; who goes first changes. */
async function timeInTurn(turns, runs, queriesOf) {
  const names = Object.keys(runs);
  const seen = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) await runs[name](queriesOf(0));
  for (let turn = 0; turn < turns; turn++)
    for (let i = 0; i < names.length; i++) {
      const name = names[(turn + i) % names.length];
      const queries = queriesOf(turn);
      const started = performance.now();
      await runs[name](queries);
      seen[name].push(performance.now() - started);
    }
  return seen;
}

function quartiles(values) {
  return [0.25, 0.5, 0.75].map((share) => round(percentile(values, share), 3));
}
