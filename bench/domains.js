/**
 * What does memory gain on domains the model has never seen (Khandelwal et al. 2020, Table 4)?
 *
 *     node bench/domains.js CORPORA [--domains medical,books] [--megabytes 6] [--max-tokens 20000]
 *                           [--k 1024] [--lambda 0.7] [--knn-temperature 8] [--out FOLDER]
 *
 * CORPORA holds NAME.train.jsonl.gz and NAME.valid.jsonl.gz. For each domain a datastore is built from the first
 * documents of train, up to so many megabytes of text, and valid is scored with the model alone and the mixture.
 * Settings are given, nothing is tuned. JSON on the last line.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openKnnLM, readDocuments } from '../dist/index.js';
import { buildEntriesFrom, round } from './common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    domains: { type: 'string', default: 'medical,books,techdocs,uscode' },
    megabytes: { type: 'string', default: '6' },
    'max-tokens': { type: 'string', default: '20000' },
    k: { type: 'string', default: '1024' },
    lambda: { type: 'string', default: '0.7' },
    'knn-temperature': { type: 'string', default: '8' },
    out: { type: 'string' },
  },
});
const [corpora] = positionals;
if (!corpora) throw new Error('usage: node bench/domains.js CORPORA');
const folder = options.out ?? mkdtempSync(join(tmpdir(), 'knnlm-domains-'));
const request = {
  k: Number(options.k),
  lambda: Number(options.lambda),
  temperature: Number(options['knn-temperature']),
  maxTokens: Number(options['max-tokens']),
};

const results = [];
for (const domain of options.domains.split(',')) {
  const out = join(folder, domain);
  const built = await buildEntriesFrom(join(corpora, `${domain}.train.jsonl.gz`), {
    out,
    megabytes: Number(options.megabytes),
  });
  const knnlm = await openKnnLM(out);
  const valid = readDocuments([join(corpora, `${domain}.valid.jsonl.gz`)]);
  const { lm, knnlm: mixed, interval, ...rest } = await knnlm.evaluate(valid, request);
  await knnlm.close();
  const row = {
    domain,
    entries: built.entries,
    entriesPerSecond: Math.round(built.entriesPerSecond),
    bytesPerEntry: round(built.bytes / built.entries, 1),
    tokens: rest.tokens,
    lm: round(lm.perplexity, 2),
    knnlm: round(mixed.perplexity, 2),
    ratio: round(mixed.perplexity / lm.perplexity, 3),
    ratioInterval: interval.ratio.map((x) => round(x, 3)),
    bitsPerByte: [round(lm.bitsPerByte, 3), round(mixed.bitsPerByte, 3)],
    helped: round(rest.helped, 3),
    seconds: round(rest.seconds, 1),
    retrievalSeconds: round(rest.retrievalSeconds, 1),
  };
  results.push(row);
  console.table([row]);
}
if (!options.out) rmSync(folder, { recursive: true });
console.log(JSON.stringify({ request, results }));
