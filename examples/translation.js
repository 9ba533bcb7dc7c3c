/**
 * Builds a memory of translations, translates a text with it, and prints which pair stands behind each token.
 *
 *     npm run build && node examples/translation.js MODEL PAIRS "a text"
 *
 * MODEL is a folder or hub id of an encoder-decoder such as Xenova/opus-mt-de-en, PAIRS a .tsv of sources and targets or a .jsonl of
 * {"source", "target"}. In a project of your own, import from 'knnlm' instead of '../dist/index.js'.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildDatastore, openKnnLM } from '../dist/index.js';

const toy = 'test/fixtures/models/translator';
const [model = toy, pairs = `${toy}/pairs/memory.jsonl`, text = 'the old king inhibits a fever.'] =
  process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'knnlm-example-'));
const store = join(folder, 'store');

await buildDatastore([pairs], { out: store, model, pairs: {} });

const knnlm = await openKnnLM(store);
const { tokens, text: translated, score } = await knnlm.translate(text, { beams: 4 });
for (const { text: piece, p, pLm, pKnn, neighbors } of tokens) {
  const source = neighbors[0]?.sourceText ?? '';
  const figures = [p, pLm, pKnn].map((x) => x.toFixed(3)).join('  ');
  console.log(`${JSON.stringify(piece).padEnd(12)} ${figures}  ${source}`);
}
console.log(`${translated} (${score.toFixed(3)})`);
await knnlm.close();
rmSync(folder, { recursive: true });
