/**
 * Builds a memory of a folder, continues a prompt from it, and prints which document stands behind each token.
 *
 *     npm run build && node examples/cited-generation.js demo/pharmacology.jsonl "The kidneys"
 *
 * In a project of your own, import from 'knnlm' instead of '../dist/index.js'.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildDatastore, openKnnLM } from '../dist/index.js';

const [documents = 'demo/pharmacology.jsonl', prompt = 'The kidneys'] = process.argv.slice(2);
const folder = mkdtempSync(join(tmpdir(), 'knnlm-example-'));
const store = join(folder, 'store');

await buildDatastore([documents], {
  out: store,
  onProgress: ({ done, total }) => process.stderr.write(`\r${Math.round((100 * done) / total)}%`),
});
process.stderr.write('\n');

const knnlm = await openKnnLM(store);
const request = { maxTokens: 24, knn: { lambda: 0.5, temperature: 2 } };
for await (const { text, p, pLm, pKnn, neighbors } of knnlm.generate(prompt, request)) {
  const source = neighbors[0] ? `${neighbors[0].document} at ${neighbors[0].position}` : '';
  const figures = [p, pLm, pKnn].map((x) => x.toFixed(3)).join('  ');
  console.log(`${JSON.stringify(text).padEnd(16)} ${figures}  ${source}`);
}
await knnlm.close();
rmSync(folder, { recursive: true });
