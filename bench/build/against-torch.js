/**
 * How fast is `build` beside what peers do: a PyTorch loop with a forward hook (`bench/peers/torch_hook_build.py`)?
 *
 *     KNNLM_PYTHON=python3 node bench/build/against-torch.js TEXT.jsonl(.gz) TORCH_MODEL [--documents 40] [--rounds 3] [--batch 8]
 *
 * TORCH_MODEL is a transformers folder (config.json, model.safetensors) with the weights of the bundled wiki-mini.
 * Both read the same documents in the same windows (512, 256 apart) and write fp16 keys and values to disk. A B A B, medians; the
 * time of loading either model is left out. JSON on the last line.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { buildDatastore } from '../../dist/index.js';
import { headOfDocuments, median, round } from '../common.js';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    documents: { type: 'string', default: '40' },
    rounds: { type: 'string', default: '3' },
    batch: { type: 'string', default: '8' },
  },
});
const [text, torchModel] = positionals;
if (!torchModel) throw new Error('usage: node bench/build/against-torch.js TEXT TORCH_MODEL');
const python = process.env.KNNLM_PYTHON ?? 'python3';
const peer = fileURLToPath(new URL('../peers/torch_hook_build.py', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'knnlm-against-'));
const docs = join(folder, 'docs.jsonl');
await headOfDocuments(text, Number(options.documents), docs);

async function ours(round) {
  let first;
  const built = await buildDatastore([docs], {
    selfTune: false, // no peer does it
    out: join(folder, `ours-${round}`),
    onPlan: () => {
      first = performance.now();
    },
  });
  return {
    entries: built.entries,
    perSecond: (built.entries * 1000) / (performance.now() - first),
  };
}

function torch(batch) {
  const { stdout, stderr, status } = spawnSync(
    python,
    [
      peer,
      '--model',
      torchModel,
      '--text',
      docs,
      '--documents',
      options.documents,
      '--window',
      '512',
      '--stride',
      '256',
      '--batch',
      batch,
      '--threads',
      '2',
      '--json',
    ],
    { encoding: 'utf8', maxBuffer: 1 << 26 },
  );
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

const rates = { knnlm: [], torch: [] };
let last;
for (let round = 0; round < Number(options.rounds); round++) {
  const built = await ours(round);
  rates.knnlm.push(built.perSecond);
  last = torch(options.batch);
  rates.torch.push(last.entries_per_second ?? last.entriesPerSecond);
  console.error(
    `round ${round + 1}: knnlm ${Math.round(rates.knnlm.at(-1))}, torch ${Math.round(rates.torch.at(-1))} entries/s (${built.entries} and ${last.entries} entries)`,
  );
}
rmSync(folder, { recursive: true });
const [a, b] = [median(rates.knnlm), median(rates.torch)];
console.log(
  JSON.stringify({
    knnlm: round(a, 0),
    torch: round(b, 0),
    ratio: round(a / b, 2),
    batch: Number(options.batch),
    rates,
    peer: last,
  }),
);
