/**
 * How many searches can be skipped, at which perplexity and how much faster; and what does a tuned store cost on unrelated text?
 *
 *     node bench/skipping.js STORES CORPORA [--domains medical,uscode,techdocs,books] [--tokens 20000] [--documents 40]
 *                            [--shares 0.3,0.5,0.7] [--lists ''] [--written 0] [--unrelated wikipedia] [--articles 12]
 *
 * STORES holds NAME.knn, whose settings are replaced while this runs and put back at its end; CORPORA holds NAME.valid.jsonl.gz, whose
 * documents are cut so that together they give about so many tokens. The store is tuned on every second document; the others are
 * evaluated as a program would, and so many tokens are written: with the constant, with all that tuning found and every search made,
 * with shares of the searches skipped, and with every search made that reads shares of the lists that an inverted file usually
 * reads. So many articles of unrelated text, whole, are read with the store's own settings, as a build finds them. JSON on the last line.
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
    lists: { type: 'string', default: '' },
    written: { type: 'string', default: '0' },
    unrelated: { type: 'string', default: 'wikipedia' },
    articles: { type: 'string', default: '12' },
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

const sharesOf = (list) => list.split(',').filter(Boolean).map(Number);

/** Tokens a second when a text is written, greedily. */
async function writing(memory, prompt, count, knn) {
  const started = performance.now();
  const generation = memory.generate(prompt, { maxTokens: count, temperature: 0, knn });
  let tokens = 0;
  let step = await generation.next();
  for (; !step.done; step = await generation.next()) tokens++;
  const { searched } = step.value;
  return {
    tokensPerSecond: round((1000 * tokens) / (performance.now() - started), 1),
    searched: round(searched, 3),
  };
}

/** The tuned store's perplexity and speed on held-out text by the share skipped. */
async function skipped(memory, documents) {
  const tuning = await memory.tune(documents.filter((_, i) => i % 2 === 0));
  const others = documents.filter((_, i) => i % 2 === 1);
  const scored = async (request) => told(await memory.evaluate(others, request));
  const prompt = others[0].text.slice(0, 400);
  const written = async (knn) =>
    Number(options.written) > 0 && {
      written: await writing(memory, prompt, Number(options.written), knn),
    };
  const result = {
    parts: tuning.parts,
    tuningSeconds: round(tuning.tuningSeconds, 1),
    constant: await scored({ gate: false, cache: false }),
  };
  const measured = async (request) => ({
    ...(await scored(request)),
    ...(await written(request)),
  });
  // Back and forth, so that what the machine does besides falls on all of them.
  for (const share of [0, ...sharesOf(options.shares), 0]) {
    const name = `skip ${share}`;
    result[name in result ? `${name} again` : name] = await measured({ adaptive: share });
  }
  for (const effort of sharesOf(options.lists))
    result[`lists ${effort}`] = await measured({ adaptive: 0, effort });
  return result;
}

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
    const result = {};
    if (options.unrelated) {
      const far = await held(options.unrelated, Number.POSITIVE_INFINITY, Number(options.articles));
      const evaluate = async (request) => told(await memory.evaluate(far, request));
      result.unrelated = {
        tokens: far.reduce((sum, { targets }) => sum + targets.length, 0),
        own: await evaluate(),
        constant: await evaluate({ gate: false, cache: false }),
      };
    }
    if (tokens === 0) return result;
    const documents = await held(domain, tokens, Number(options.documents));
    return { ...result, ...(await skipped(memory, documents)) };
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
