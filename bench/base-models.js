/**
 * Does memory gain more with a weak base model or with a strong one?
 *
 *     node bench/base-models.js CORPORA --models wiki-mini-2,FOLDER [--domains medical,books,techdocs,uscode]
 *                               [--megabytes 1] [--max-tokens 10000] [--out FOLDER]
 *
 * CORPORA holds NAME.train.jsonl.gz and NAME.valid.jsonl.gz. For each domain and model a store is built from the first
 * documents of train, up to so many megabytes of text. k, λ and T are chosen on one half of valid's documents and measured on the
 * other, up to so many tokens each, as `knnlm experiment domain` does. JSON on the last line.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Lab } from '../dist/experiments/lab.js';
import { compare, perplexityInterval } from '../dist/experiments/score.js';
import { headOfCorpus, round } from './common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    models: { type: 'string', default: 'wiki-mini-2' },
    domains: { type: 'string', default: 'medical,books,techdocs,uscode' },
    megabytes: { type: 'string', default: '1' },
    'max-tokens': { type: 'string', default: '10000' },
    out: { type: 'string' },
  },
});
const [corpora] = positionals;
if (!corpora) throw new Error('usage: node bench/base-models.js CORPORA --models A,B');
const folder = options.out ?? mkdtempSync(join(tmpdir(), 'knnlm-base-models-'));
mkdirSync(folder, { recursive: true });

async function measure(model, domain, documents) {
  const heldOut = join(corpora, `${domain}.valid.jsonl.gz`);
  const inputs = { documents: [documents], heldOut: [heldOut] };
  const maxTokens = Number(options['max-tokens']);
  const choice = { text: 'domain' };
  const lab = new Lab({ model, domain: inputs, maxTokens }, join(folder, 'work', domain));
  try {
    const memory = await lab.memory(choice);
    const { entries, model: base } = memory.info;
    const { lm, mixture, settings } = await lab.fit({ memory, ...choice });
    const { ratio, interval } = compare(mixture, lm);
    return {
      domain,
      model: base.name,
      entries,
      tokens: lm.tokens.reduce((sum, n) => sum + n, 0),
      lm: round(lm.perplexity, 2),
      lmInterval: perplexityInterval(lm).map((x) => round(x, 2)),
      knnlm: round(mixture.perplexity, 2),
      ratio: round(ratio, 3),
      ratioInterval: interval.map((x) => round(x, 3)),
      k: settings.k,
      lambda: round(settings.lambda, 2),
      temperature: round(settings.temperature, 1),
    };
  } finally {
    await lab.drop(choice);
    await lab.close();
  }
}

const results = [];
for (const domain of options.domains.split(',')) {
  const documents = join(folder, `${domain}.jsonl`);
  await headOfCorpus(
    join(corpora, `${domain}.train.jsonl.gz`),
    Number(options.megabytes),
    documents,
  );
  for (const model of options.models.split(',')) {
    const row = await measure(model, domain, documents);
    results.push(row);
    console.table([row]);
  }
}
if (!options.out) rmSync(folder, { recursive: true });
console.log(JSON.stringify({ megabytes: options.megabytes, results }));
