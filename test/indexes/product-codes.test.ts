import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildIvf } from '../../dist/indexes/ivf/build-ivf.js';
import { parseCodec } from '../../dist/indexes/ivf/codec.js';
import type { IvfHeader } from '../../dist/indexes/ivf/ivf-header.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { openTable } from '../../dist/indexes/ivf/open-table.js';
import { unpackList } from '../../dist/indexes/ivf/product-list.js';
import { transcodeIvf } from '../../dist/indexes/ivf/transcode-ivf.js';
import { verifyIvf } from '../../dist/indexes/ivf/verify-ivf.js';
import type { KeySource } from '../../dist/math/vectors.js';
import { bruteForce, expectNeighbors } from './index-suite.ts';
import { writeKeys } from './key-files.ts';
import { clustered } from './vectors.ts';

// No multiple of 16: rows are padded, and for 8 sub-quantizers rotated into more dimensions than they have.
const dim = 22;
const n = 5000;
const keys = clustered(n, dim, 60, 3);
const queries = clustered(40, dim, 60, 4);
let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'knnlm-product-'));
});
afterAll(() => rmSync(root, { recursive: true }));

async function coded(name: string) {
  const folder = join(root, name);
  const { sources } = writeKeys(root, keys, dim, 'fp16');
  const eight = await buildIvf({ folder, sources, dim, lists: 40, threads: 2 });
  const codec = parseCodec(name, dim)!;
  const header = await transcodeIvf({ folder, header: eight, codec, threads: 2 });
  return { folder, sources, header, eight };
}

/**
 * (n, d) keys as the file's bytes say, in double precision, after the description in docs/formats.md.
 * @returns and (n) how far rounding of its bias may move a row's distances
 */
function decodedKeys(folder: string, header: IvfHeader) {
  const path = join(folder, header.file.name);
  const { layout, bytes, rows, offsets, space } = openTable(path, header);
  const { width, part, words, codec, rotation, books } = layout.product!;
  const floats = (at: number, count: number) => new Float32Array(bytes.buffer, at, count);
  const turn = floats(rotation, width * layout.padded);
  const book = floats(books, width * words);
  const file = readFileSync(path);
  const keys = new Float64Array(header.entries * dim);
  const slack = new Float64Array(header.entries);
  for (let l = 0; l < header.lists; l++) {
    const list = unpackList(file.subarray(offsets[l], offsets[l + 1]), rows[l]!, codec);
    const scale = floats(layout.scales, header.lists)[l]!;
    for (const [i, id] of list.ids.entries()) {
      slack[id] = (file.readFloatLE(offsets[l]! + 4) / 2) * space.unit ** 2;
      for (let j = 0; j < dim; j++) {
        const code = bytes[layout.codes + l * layout.padded + j]! - 128;
        let z = scale * space.scale[j]! * code;
        for (let r = 0; r < width; r++) {
          const m = Math.floor(r / part);
          const word = list.codes[i * codec.subquantizers + m]!;
          z += turn[r * layout.padded + j]! * book[(m * part + (r % part)) * words + word]!;
        }
        keys[id * dim + j] = space.mean[j]! + space.unit * z;
      }
    }
  }
  return { keys, slack };
}

describe.each([
  { name: 'pq8', recall: 0.7, rounding: 1e-3 },
  { name: 'pq20', recall: 0.9, rounding: 1e-3 },
  { name: 'pq20x4', recall: 0.7, rounding: 2e-3 },
])('an index of $name', ({ name, recall, rounding }) => {
  let folder: string;
  let sources: KeySource[];
  let header: IvfHeader;
  let index: IvfIndex;
  beforeAll(async () => {
    ({ folder, sources, header } = await coded(name));
    index = await IvfIndex.open({ folder, sources, threads: 2 });
  });
  afterAll(() => index.close());

  it('gives the distances of the keys that its bytes stand for', async () => {
    const stored = decodedKeys(folder, header);
    const k = 50;
    const { ids, distances } = await index.search(queries, { k, probes: 1000 });
    for (const [at, id] of ids.entries()) {
      const query = queries.subarray(Math.floor(at / k) * dim);
      let distance = 0;
      for (let j = 0; j < dim; j++) distance += (query[j]! - stored.keys[id * dim + j]!) ** 2;
      expect(Math.abs(distances[at]! - distance)).toBeLessThan(
        stored.slack[id]! + rounding * (1 + distance),
      );
    }
  });

  it('finds neighbors by them, and exact ones where keys are compared', async () => {
    const truth = bruteForce(keys, dim, queries, { k: 50 });
    const rough = await index.search(queries, { k: 50, probes: 1000 });
    expectNeighbors(rough, truth, { recall, distanceError: 1 });
    const exact = await index.search(queries, { k: 50, probes: 1000, rerank: 8 });
    expectNeighbors(exact, truth, { recall: 0.99, distanceError: 0.01 });
  });

  it('gives the same bits alone and among others, for any number of threads and hardly any memory', async () => {
    const options = { k: 30, probes: 9, exclude: [[100, 900]] as const };
    const together = await index.search(queries, options);
    expect(together.ids.every((id) => id < 100 || id >= 900)).toBe(true);
    const other = await IvfIndex.open({ folder, sources, threads: 3, memoryBytes: 1 });
    expect(await other.search(queries, options)).toEqual(together);
    await other.close();
    for (let q = 0; q < 40; q += 9) {
      const alone = await index.search(queries.slice(q * dim, (q + 1) * dim), options);
      expect(alone.ids).toEqual(together.ids.slice(q * 30, (q + 1) * 30));
      expect(alone.distances).toEqual(together.distances.slice(q * 30, (q + 1) * 30));
    }
  });

  it('tells the distances of known entries as a search finds them, when keys are gone', async () => {
    const keyless = await IvfIndex.open({ folder, sources: [], threads: 3, memoryBytes: 1 });
    const found = await keyless.search(queries, { k: 40, probes: 1000 });
    const rows = Array.from({ length: 40 }, (_, q) => found.ids.slice(q * 40, (q + 1) * 40).sort());
    const ids = Uint32Array.from(rows.flatMap((row) => [...row]));
    const measured = await keyless.distances(queries, {
      counts: new Uint32Array(40).fill(40),
      ids,
    });
    await keyless.close();
    for (const [at, id] of ids.entries()) {
      const from = Math.floor(at / 40) * 40;
      const place = found.ids.subarray(from, from + 40).indexOf(id);
      expect(measured[at]).toBe(found.distances[from + place]);
    }
  });

  it('is small', () => {
    const { layout } = openTable(join(folder, header.file.name), header);
    const bytes = (header.file.bytes - layout.end) / n;
    const codes = (header.codec!.subquantizers * header.codec!.bits) / 8;
    // A bias, a gap of one or two bytes, and what fills the last block.
    expect(bytes).toBeLessThan(codes + 1 + 2 + 1.5);
  });
});

it('is the same file whenever it is made of the same keys', async () => {
  const sums = [];
  for (let i = 0; i < 2; i++) sums.push((await coded('pq8')).header.file.tableCrc32);
  expect(sums[0]).toBe(sums[1]);
});

it('codes fewer keys than a codebook has words', async () => {
  const folder = join(root, 'few');
  const { sources } = writeKeys(root, keys.slice(0, 3 * dim), dim, 'fp32');
  const header = await buildIvf({ folder, sources, dim, threads: 1 });
  const codec = parseCodec('pq4', dim)!;
  await transcodeIvf({ folder, header, codec, threads: 3 });
  const index = await IvfIndex.open({ folder, sources });
  const { ids, distances } = await index.search(keys.slice(0, dim), { k: 4, probes: 9 });
  expect([...ids].sort()).toEqual([-1, 0, 1, 2].sort());
  expect([ids[0], distances[0]! < 0.01]).toEqual([0, true]);
  await index.close();
});

it('leaves the index of 8-bit codes as it was when it is stopped', async () => {
  const folder = join(root, 'stopped');
  const { sources } = writeKeys(root, keys, dim, 'fp16');
  const header = await buildIvf({ folder, sources, dim, lists: 40, threads: 2 });
  const stop = new AbortController();
  const codec = parseCodec('pq8', dim)!;
  const onProgress = ({ phase }: { phase: string }) => phase === 'writing' && stop.abort();
  const attempt = transcodeIvf({ folder, header, codec, onProgress, signal: stop.signal });
  const ended = await attempt.then(
    () => 'done',
    (error) => error.code,
  );
  // The last part may have been written already.
  expect(['ABORTED', 'done']).toContain(ended);
  const found = await verifyIvf({ folder, sources, dim });
  expect(found).toMatchObject({ files: 2, problems: [], leftovers: [] });
});

it('finds a flipped bit and a missing byte wherever they are', async () => {
  const { folder, sources, header } = await coded('pq20x4');
  const path = join(folder, header.file.name);
  const whole = readFileSync(path);
  const { layout } = openTable(path, header);
  const { sizes, rotation, books } = layout.product!;
  const query = queries.slice(0, dim);
  const search = async () => {
    const index = await IvfIndex.open({ folder, sources, threads: 1 });
    try {
      return await index.search(query, { k: 5, probes: 1000 });
    } finally {
      await index.close();
    }
  };
  const parts = [0, 9, layout.codes, sizes, rotation, books, layout.end, whole.length - 1];
  for (const at of parts) {
    const damaged = Buffer.from(whole);
    damaged[at]! ^= 16;
    writeFileSync(path, damaged);
    await expect(search(), `byte ${at}`).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect((await verifyIvf({ folder, sources, dim })).problems).toHaveLength(1);
  }
  for (const length of [0, 63, layout.end - 1, layout.end, whole.length - 1]) {
    writeFileSync(path, whole.subarray(0, length));
    await expect(search(), `${length} bytes`).rejects.toMatchObject({ code: 'STORE_CORRUPT' });
    expect((await verifyIvf({ folder, sources, dim })).problems).toHaveLength(1);
  }
  writeFileSync(path, whole);
  expect((await search()).ids[0]).toBeGreaterThanOrEqual(0);
});
