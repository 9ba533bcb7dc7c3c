/**
 * What does each style of export cost in perplexity, alone and with a memory built by that same model?
 *
 *     node bench/model/styles.js STYLES TRAIN VALID [--styles fp32,fp16,…] [--megabytes 0.3] [--tokens 5000]
 *
 * STYLES holds one model folder per style (`make_styles.py`); TRAIN and VALID are corpora (.jsonl, .gz). For each style a store is
 * built from the head of TRAIN. Documents of VALID are dealt into two halves; k, λ and T are tuned on one half and measured on
 * the other, both ways, without a gate; with the 95% bootstrap interval of mixture over model alone on each half. JSON on the last line.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openKnnLM, readDocuments } from '../../dist/index.js';
import { buildEntriesFrom, round } from '../common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    styles: {
      type: 'string',
      default: 'fp32,merged,start,genai-fp32,q8,fp16,q4,genai-int4,q4f16,int8',
    },
    megabytes: { type: 'string', default: '0.3' },
    tokens: { type: 'string', default: '5000' },
  },
});
const [styles, train, valid] = positionals;
if (!valid) throw new Error('usage: node bench/model/styles.js STYLES TRAIN VALID');
const folder = mkdtempSync(join(tmpdir(), 'knnlm-styles-'));
const held = await heldOut(Number(options.tokens));
const results = [];
for (const style of options.styles.split(',')) {
  const row = await measure(style).catch((error) => ({ style, refused: error.message }));
  results.push(row);
  console.log(row);
}
rmSync(folder, { recursive: true });
console.log(JSON.stringify({ options: { ...options }, documents: held.length, results }));

/** Twenty documents, cut to an equal length so that together they give about so many tokens. */
async function heldOut(tokens) {
  const documents = [];
  for await (const { id, text, source } of readDocuments([valid])) {
    documents.push({ id, text, source });
    if (documents.length === 20) break;
  }
  const length = Math.ceil((tokens * 3.5) / documents.length);
  return documents.map((document) => ({ ...document, text: document.text.slice(0, length) }));
}

async function measure(style) {
  const out = join(folder, style);
  const started = performance.now();
  const built = await buildEntriesFrom(train, {
    out,
    model: join(styles, style),
    megabytes: Number(options.megabytes),
    selfTune: false,
  });
  const seconds = (performance.now() - started) / 1000;
  const knnlm = await openKnnLM(out);
  const evaluations = [];
  for (const half of [0, 1]) {
    await knnlm.tune(held.filter((_, i) => i % 2 === half));
    evaluations.push(
      await knnlm.evaluate(
        held.filter((_, i) => i % 2 !== half),
        { gate: false },
      ),
    );
  }
  await knnlm.close();
  rmSync(out, { recursive: true });
  const tokens = evaluations.reduce((sum, evaluation) => sum + evaluation.tokens, 0);
  const perplexity = (of) =>
    round(Math.exp(evaluations.reduce((sum, part) => sum + part[of].nll, 0) / tokens), 3);
  return {
    style,
    entries: built.entries,
    entriesPerSecond: Math.round(built.entries / seconds),
    tokens,
    lm: perplexity('lm'),
    knnlm: perplexity('knnlm'),
    ratioIntervals: evaluations.map(({ interval }) => interval.ratio.map((x) => round(x, 3))),
  };
}
