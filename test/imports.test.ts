import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

/** Which rooms each room may import from. Root files such as errors.ts are listed by name. */
const allowed: Record<string, string[]> = {
  math: ['math'],
  model: ['model', 'math', 'errors', 'onnxruntime', 'worker-priority'],
  datastore: ['datastore', 'math', 'errors'],
  indexes: ['indexes', 'math', 'errors', 'onnxruntime', 'worker-priority'],
  knnlm: ['knnlm', 'model', 'datastore', 'indexes', 'math', 'errors'],
  server: ['server', 'open', 'knnlm', 'model', 'datastore', 'indexes', 'math', 'errors'],
  'ai-sdk': ['ai-sdk', 'knnlm', 'model', 'datastore', 'math', 'errors'],
  experiments: ['experiments', 'open', 'knnlm', 'model', 'datastore', 'indexes', 'math', 'errors'],
  cli: [
    'cli',
    'experiments',
    'server',
    'open',
    'knnlm',
    'model',
    'datastore',
    'indexes',
    'math',
    'errors',
  ],
  errors: [],
  onnxruntime: ['errors'],
  'worker-priority': [],
  open: ['knnlm', 'model', 'datastore', 'indexes', 'math', 'errors'],
  index: ['experiments', 'open', 'knnlm', 'model', 'datastore', 'indexes', 'math', 'errors'],
};

const room = (path: string): string => relative(src, path).split('/')[0]!.replace(/\.ts$/, '');

it('imports point one way: math ← model, datastore, indexes ← knnlm ← server, cli', () => {
  const wrong: string[] = [];
  for (const name of readdirSync(src, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts')) continue;
    const file = join(src, name);
    for (const [, target] of readFileSync(file, 'utf8').matchAll(
      /(?:from|import\()\s*'(\.[^']+)'/g,
    )) {
      const to = room(join(dirname(file), target!));
      if (!allowed[room(file)]?.includes(to)) wrong.push(`${name} imports ${target}`);
    }
  }
  expect(wrong).toEqual([]);
});
