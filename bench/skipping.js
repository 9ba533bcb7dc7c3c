/**
 * How many searches can be skipped, at which perplexity and how much faster; and what does a tuned store cost on unrelated text?
 *
 *     node bench/skipping.js STORES CORPORA [--domains medical,uscode,techdocs,books] [--tokens 20000] [--documents 40]
 *                            [--shares 0.3,0.5,0.7] [--unrelated wikipedia]
 *
 * STORES holds NAME.knn, whose settings are replaced while this runs and put back at its end; CORPORA holds NAME.valid.jsonl.gz, whose
 * documents are cut so that together they give about so many tokens. The store is tuned on every second document; the others are
 * evaluated as a program would, with the constant, with all that tuning found and every search made, and with shares of
 * the searches skipped. The unrelated text, whole documents, is read with each store. JSON on the last line.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openKnnLM } from '../dist/index.js';
import { heldOut } from './collected.js';
import { round } from './common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    domains: { type: 'string', default: 'medical,uscode,techdocs,books' },
    tokens: { type: 'string', default: '20000' },
    documents: { type: 'string', default: '40' },
    shares: { type: 'string', default: '0.3,0.5,0.7' },
    unrelated: { type: 'string', default: 'wikipedia' },
  },
});
const [stores, corpora] = positionals;
if (!corpora) throw new Error('usage: node bench/skipping.js STORES CORPORA');
const tokens = Number(options.tokens);

const told = ({ lm, knnlm, interval, searched, tokens: count, seconds, retrievalSeconds }) => ({
  lm: round(lm.perplexity, 3),
  perplexity: round(knnlm.perplexity, 3),
  ratio: interval.ratio.map((value) => round(value, 4)),
  searched: round(searched, 3),
  tokensPerSecond: round(count / seconds, 0),
  searching: round(retrievalSeconds / seconds, 2),
});

async function measure(domain) {
  const memory = await openKnnLM(join(stores, `${domain}.knn`));
  const { settings } = memory.datastore;
  try {
    const held = (name, count, most) =>
      heldOut(join(corpora, `${name}.valid.jsonl.gz`), {
        tokens: count,
        most,
        model: memory.model,
      });
    const documents = await held(domain, tokens, Number(options.documents));
    const tuning = await memory.tune(documents.filter((_, i) => i % 2 === 0));
    const others = documents.filter((_, i) => i % 2 === 1);
    const scored = async (request) => told(await memory.evaluate(others, request));
    const result = {
      parts: tuning.parts,
      tuningSeconds: round(tuning.tuningSeconds, 1),
      constant: await scored({ gate: false, cache: false }),
      always: await scored({ adaptive: 0 }),
    };
    for (const share of options.shares.split(',').map(Number))
      result[`skip ${share}`] = await scored({ adaptive: share });
    result.alwaysAgain = await scored({ adaptive: 0 });
    if (options.unrelated) {
      const far = await held(options.unrelated, tokens / 2, 3);
      result.unrelated = told(await memory.evaluate(far));
      result.unrelatedConstant = told(await memory.evaluate(far, { gate: false, cache: false }));
    }
    return result;
  } finally {
    await memory.datastore.updateSettings(settings);
    await memory.close();
  }
}

const results = {};
for (const domain of options.domains.split(',')) {
  results[domain] = await measure(domain);
  console.error(domain, JSON.stringify(results[domain]));
}
console.log(JSON.stringify({ bench: 'skipping', ...options, results }));
