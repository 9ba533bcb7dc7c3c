import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { parseCodec } from '../../dist/indexes/ivf/codec.js';
import { transcodeIvf } from '../../dist/indexes/ivf/transcode-ivf.js';
import { writeKeys } from './key-files.ts';
import { clustered } from './vectors.ts';

let folder: string;
let hasNumPy = false;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'knnlm-ivf-format-'));
  try {
    execFileSync('python3', ['-c', 'import numpy'], { stdio: 'ignore' });
    hasNumPy = true;
  } catch {
    hasNumPy = false;
  }
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it.for([
  { codes: 'sq8', off: 0.5 },
  { codes: 'pq20', off: 2.5 },
  { codes: 'pq20x4', off: 8 },
])(
  'has a NumPy reader in docs/formats.md that reads lists of $codes',
  async ({ codes, off }, { skip }) => {
    if (!hasNumPy) skip('python3 with numpy is not here');
    const dim = 20;
    const n = 1500;
    const { sources, stored } = writeKeys(folder, clustered(n, dim, 12, 1), dim, 'fp16');
    const index = join(folder, codes);
    const header = await buildIvf({ folder: index, sources, dim, lists: 16 });
    const codec = parseCodec(codes, dim);
    if (codec) await transcodeIvf({ folder: index, header, codec });
    const page = readFileSync(new URL('../../docs/formats.md', import.meta.url), 'utf8');
    const reader = /```python\n((?:(?!```)[\s\S])*def read_index[\s\S]*?)```/.exec(page)![1]!;
    const ask = `
centroids, lists = read_index(${JSON.stringify(index)})
print(json.dumps([centroids.tolist(), [[ids.tolist(), keys.tolist()] for ids, keys in lists]]))`;
    const answer = execFileSync('python3', ['-c', reader + ask], { maxBuffer: 2 ** 26 });
    const [centroids, lists] = JSON.parse(answer.toString()) as [
      number[][],
      [ids: number[], keys: number[][]][],
    ];
    expect([centroids.length, lists.length]).toEqual([header.lists, header.lists]);
    const seen = lists.flatMap(([ids]) => ids).sort((a, b) => a - b);
    expect(seen).toEqual(Array.from({ length: n }, (_, id) => id));
    let nearest = 0;
    for (const [l, [ids, keys]] of lists.entries()) {
      for (const [i, id] of ids.entries()) {
        const key = stored.subarray(id * dim, (id + 1) * dim);
        const distance = (to: number[]) => Math.hypot(...key.map((x, j) => x - to[j]!));
        // Of 8 bits: half a step of 1/127 of the largest value in every dimension.
        expect(distance(keys[i]!)).toBeLessThan(off);
        if (distance(centroids[l]!) <= Math.min(...centroids.map(distance)) + 0.05) nearest++;
      }
    }
    expect(nearest / n).toBeGreaterThan(0.98);
  },
);
