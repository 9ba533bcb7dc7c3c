/**
 * What are tuning, self-tuning and the gate worth (perplexity), and what does the gate cost on unrelated text?
 *
 *     node bench/tuning.js CORPORA [--domains medical,uscode,techdocs,books] [--megabytes 1] [--tokens 8000]
 *                          [--unrelated wikipedia] [--out FOLDER]
 *
 * CORPORA holds NAME.train.jsonl.gz and NAME.valid.jsonl.gz. For each domain a store is built from the first documents of
 * train, up to so many megabytes, and tuned on itself by the build. The documents of valid are cut so that they give
 * about so many tokens in all, and dealt into two halves; settings are tuned on one half and measured on the other, both ways.
 * The unrelated text, three documents, is read with the settings tuned last. JSON on the last line.
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
    domains: { type: 'string', default: 'medical,uscode,techdocs,books' },
    megabytes: { type: 'string', default: '1' },
    tokens: { type: 'string', default: '8000' },
    unrelated: { type: 'string', default: 'wikipedia' },
    out: { type: 'string' },
  },
});
const [corpora] = positionals;
if (!corpora) throw new Error('usage: node bench/tuning.js CORPORA');
const folder = options.out ?? mkdtempSync(join(tmpdir(), 'knnlm-tuning-'));
/** Of English and of statutes with this tokenizer, about. */
const CHARACTERS_PER_TOKEN = 3.5;

/** Documents of a split, cut to an equal length so that together they give about so many tokens. */
async function heldOut(name, tokens, most = 40) {
  const documents = [];
  for await (const { id, text, source } of readDocuments([
    join(corpora, `${name}.valid.jsonl.gz`),
  ])) {
    documents.push({ id, text, source });
    if (documents.length === most) break;
  }
  const length = Math.ceil((tokens * CHARACTERS_PER_TOKEN) / documents.length);
  return documents.map((document) => ({ ...document, text: document.text.slice(0, length) }));
}

/** Perplexity of several evaluations together. */
const together = (evaluations, of) => {
  const nll = evaluations.reduce((sum, evaluation) => sum + evaluation[of].nll, 0);
  return Math.exp(nll / evaluations.reduce((sum, { tokens }) => sum + tokens, 0));
};

async function measure(domain) {
  const out = join(folder, domain);
  const built = await buildEntriesFrom(join(corpora, `${domain}.train.jsonl.gz`), {
    out,
    megabytes: Number(options.megabytes),
  });
  const knnlm = await openKnnLM(out);
  const valid = await heldOut(domain, Number(options.tokens));
  const halves = [0, 1].map((half) => valid.filter((_, i) => i % 2 === half));
  const self = await knnlm.evaluate(valid, { gate: false });
  const selfGate = await knnlm.evaluate(valid);
  const tuned = [];
  const gated = [];
  let tuning;
  for (const half of [0, 1]) {
    tuning = await knnlm.tune(halves[half]);
    tuned.push(await knnlm.evaluate(halves[1 - half], { gate: false }));
    gated.push(await knnlm.evaluate(halves[1 - half]));
  }
  const constant = together(tuned, 'knnlm');
  const against = (perplexity) => `${round((perplexity / constant - 1) * 100, 2)}%`;
  const gate = together(gated, 'knnlm');
  const unrelated = await heldOut(options.unrelated, Number(options.tokens), 3);
  const [far, farConstant] = [
    await knnlm.evaluate(unrelated),
    await knnlm.evaluate(unrelated, { gate: false }),
  ];
  await knnlm.close();
  const harm = (evaluation) =>
    `${round((evaluation.knnlm.perplexity / evaluation.lm.perplexity - 1) * 100, 2)}%`;
  return {
    domain,
    entries: built.entries,
    tokens: self.tokens,
    lm: round(self.lm.perplexity, 2),
    tuned: round(constant, 2),
    selfTuned: round(self.knnlm.perplexity, 2),
    selfTunedAgainstTuned: against(self.knnlm.perplexity),
    gate: round(gate, 2),
    gateAgainstTuned: against(gate),
    selfTunedGate: round(selfGate.knnlm.perplexity, 2),
    selfTunedGateAgainstTuned: against(selfGate.knnlm.perplexity),
    settings: tuning.settings,
    unrelatedWithGate: harm(far),
    unrelatedWithConstant: harm(farConstant),
  };
}

const results = [];
for (const domain of options.domains.split(',')) {
  const row = await measure(domain);
  results.push(row);
  console.log(row);
}
if (!options.out) rmSync(folder, { recursive: true });
console.log(JSON.stringify({ options: { ...options }, results }));
