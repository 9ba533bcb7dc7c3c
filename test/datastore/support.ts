/** A small store's worth of fake keys, so that the room is tested without a model. */
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { onTestFinished } from 'vitest';
import { Datastore } from '../../dist/datastore/datastore.js';
import type { StoreHeader } from '../../dist/datastore/manifest.js';

/** In memory where the system offers it: the tests sync files by the hundred. */
const place = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(place, 'knnlm-test-'));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A datastore that is closed when the test ends. */
export async function openStore(path: string): Promise<Datastore> {
  const store = await Datastore.open(path);
  onTestFinished(() => store.close());
  return store;
}

export const header = (changes: Partial<StoreHeader> = {}): StoreHeader => ({
  model: { name: 'fake', family: 'llama', file: 'onnx/model.onnx', contextLength: 64 },
  fingerprint: { weights: 'w', tokenizer: 't', dtype: 'fp32', keyTensor: '/x', provider: 'cpu' },
  key: { name: 'ffn-input', tensor: '/x', dim: 4, dtype: 'fp16' },
  vocabSize: 1000,
  bos: 0,
  eos: 1,
  window: 64,
  stride: 32,
  ...changes,
});

export interface FakeDocument {
  id: string;
  source: string;
  hash: string;
  length: number;
  metadata?: Record<string, unknown>;
}

export const fakeDocument = (id: string, length: number): FakeDocument => ({
  id,
  source: `${id}.txt`,
  hash: createHash('sha256').update(id).digest('hex'),
  length,
});

/** Entries [from, to) of a document: keys and values that depend on the document and the position alone. */
export function fakeEntries(document: FakeDocument, from: number, to: number, dim = 4) {
  const seed = Number.parseInt(document.hash.slice(0, 6), 16);
  const keys = new Float32Array((to - from) * dim);
  const values = new Uint32Array(to - from);
  for (let i = from; i < to; i++) {
    values[i - from] = (seed + i * 7) % 1000;
    for (let j = 0; j < dim; j++) keys[(i - from) * dim + j] = Math.sin(seed + i * dim + j) * 8;
  }
  return { keys, values };
}

/** Every file of a folder with its bytes in hex: what must be equal after equal builds. */
export function contents(folder: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    files[relative(folder, path)] = createHash('sha256').update(readFileSync(path)).digest('hex');
  }
  return files;
}

export const settings = {
  k: 8,
  lambda: 0.25,
  temperature: 1,
  source: 'default' as const,
};
