import { closeSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildIvf, defaultLists } from '../../dist/indexes/ivf/build-ivf.js';
import { IvfIndex } from '../../dist/indexes/ivf/ivf-index.js';
import { compileListKernels, KernelMemory, Layout } from '../../dist/indexes/ivf/list-kernels.js';
import { ListSketches, sketchAddresses } from '../../dist/indexes/ivf/list-sketches.js';
import { listLayout } from '../../dist/indexes/ivf/lists-file.js';
import { type OpenTable, openTable, readFully } from '../../dist/indexes/ivf/open-table.js';
import type { KeySource } from '../../dist/math/vectors.js';
import { bruteForce, expectNeighbors, indexSuite } from './index-suite.ts';
import { clustered } from './vectors.ts';

const folders: string[] = [];
afterAll(() => Promise.all(folders.map((folder) => rm(folder, { recursive: true }))));

async function stored(
  keys: Float32Array,
  dim: number,
): Promise<{ folder: string; sources: KeySource[] }> {
  const root = await mkdtemp(join(tmpdir(), 'knnlm-ivf-'));
  folders.push(root);
  const path = join(root, 'keys.bin');
  await writeFile(path, new Uint8Array(keys.buffer, keys.byteOffset, keys.byteLength));
  const source: KeySource = { path, dtype: 'fp32', count: keys.length / dim, byteOffset: 0 };
  return { folder: join(root, 'index'), sources: [source] };
}

async function indexed(keys: Float32Array, dim: number, options = {}) {
  const { folder, sources } = await stored(keys, dim);
  await buildIvf({ folder, sources, dim, threads: 2, ...options });
  const index = await IvfIndex.open({ folder, sources, threads: 2, ...options });
  return { index, folder, sources };
}

indexSuite('an inverted file read in full, with exact distances', async (keys, dim) => {
  const { index } = await indexed(keys, dim, { lists: 20 });
  index.settings = { probes: 1e9, rerank: 16, spreadWeight: 0.5 };
  return index;
});

describe('an inverted file', () => {
  const dim = 24;
  const n = 6000;
  const keys = clustered(n, dim, 60, 3);
  const queries = clustered(40, dim, 60, 4);
  const truth = bruteForce(keys, dim, queries, { k: 50 });
  let index: IvfIndex;
  let folder: string;
  let sources: KeySource[];

  beforeAll(async () => {
    ({ index, folder, sources } = await indexed(keys, dim, { lists: 64 }));
  });
  afterAll(() => index.close());

  it('finds most neighbors in a quarter of its lists, with distances from the codes alone', async () => {
    const found = await index.search(queries, { k: 50, probes: 16, rerank: 0 });
    expectNeighbors(found, truth, { recall: 0.9, distanceError: 0.1 });
  });

  it('finds all that its lists hold when all of them are read', async () => {
    const found = await index.search(queries, { k: 50, probes: 1000, rerank: 2 });
    expectNeighbors(found, truth);
  });

  it('finds more in more lists', async () => {
    const recall = async (probes: number) => {
      const { ids } = await index.search(queries, { k: 50, probes });
      let hits = 0;
      for (let q = 0; q < 40; q++) {
        const near = new Set(truth.ids.subarray(q * 50, q * 50 + 50));
        for (const id of ids.subarray(q * 50, q * 50 + 50)) if (near.has(id)) hits++;
      }
      return hits / truth.ids.length;
    };
    const recalls = [await recall(1), await recall(4), await recall(16), await recall(64)];
    expect(recalls).toEqual([...recalls].sort((a, b) => a - b));
    expect(recalls[0]).toBeLessThan(recalls[3]! - 0.05);
    expect(recalls[3]).toBeGreaterThan(0.99);
  });

  it('reads a share of the lists that it usually reads, one at least, when asked for less effort', async () => {
    const usual = index.settings;
    index.settings = { ...usual, probes: 16 };
    const find = (options: object) => index.search(queries, { k: 50, ...options });
    for (const [effort, probes] of [
      [0.25, 4],
      [1, 16],
      [2, 32],
      [0.001, 1],
      [1e9, 64],
    ] as const)
      expect(await find({ effort })).toEqual(await find({ probes }));
    expect((await find({ effort: 0.001 })).ids).not.toEqual((await find({})).ids);
    index.settings = usual;
  });

  it('misses none of the few entries that may be found, wherever their lists are', async () => {
    const few = [7, 1234, 2500, 5999];
    const exclude = few.map((id, i) => [i === 0 ? 0 : few[i - 1]! + 1, id] as [number, number]);
    const found = await index.search(queries, { k: 6, probes: 1, exclude });
    for (let q = 0; q < 40; q++) {
      const row = [...found.ids.subarray(q * 6, q * 6 + 6)];
      expect(row.slice(4)).toEqual([-1, -1]);
      expect(row.slice(0, 4).sort((a, b) => a - b)).toEqual(few);
    }
  });

  it.each([0, 2])('gives the same bits alone and among others (rerank %d)', async (rerank) => {
    const together = await index.search(queries, { k: 30, probes: 9, rerank });
    for (let q = 0; q < 40; q++) {
      const query = queries.slice(q * dim, (q + 1) * dim);
      const alone = await index.search(query, { k: 30, probes: 9, rerank });
      expect(alone.ids).toEqual(together.ids.slice(q * 30, (q + 1) * 30));
      expect(alone.distances).toEqual(together.distances.slice(q * 30, (q + 1) * 30));
    }
  });

  it('answers the same when hardly any list fits in memory, and for any number of threads', async () => {
    const found = await index.search(queries, { k: 50, probes: 16 });
    for (const threads of [1, 3]) {
      const small = await IvfIndex.open({ folder, sources, threads, memoryBytes: 1 });
      expect(small.memoryBytes).toBeLessThan(index.memoryBytes);
      expect(await small.search(queries, { k: 50, probes: 16 })).toEqual(found);
      expect(await small.search(queries, { k: 50, probes: 16 })).toEqual(found);
      await small.close();
    }
  });

  it('keeps lists in as much memory as it is given, beside its tables', async () => {
    const held = async (memoryBytes: number): Promise<number> => {
      const other = await IvfIndex.open({ folder, sources, threads: 1, memoryBytes });
      await other.close();
      return other.memoryBytes;
    };
    const [least, some, all] = [await held(1), await held(30_000), await held(2 ** 30)];
    expect(some).toBeGreaterThan(least);
    expect(some - least).toBeLessThanOrEqual(30_000);
    expect(all).toBeGreaterThan(some);
  });

  it('is the same file whenever it is built from the same keys', async () => {
    const again = await indexed(keys, dim, { lists: 64 });
    expect(again.index.header.file.tableCrc32).toBe(index.header.file.tableCrc32);
    await again.index.close();
  });

  it('keeps no list longer than four times the mean, even of keys that are all alike', async () => {
    const alike = new Float32Array(3000 * dim).fill(0.5);
    const { index: flat } = await indexed(alike, dim, { lists: 8 });
    expect(flat.header.lists).toBeGreaterThanOrEqual(3000 / Math.max(256, (4 * 3000) / 8));
    const { ids, distances } = await flat.search(alike.slice(0, dim), { k: 3, probes: 100 });
    expect([...ids]).toEqual([0, 1, 2]);
    expect([...distances]).toEqual([0, 0, 0]);
    await flat.close();
  });

  it.each([1, 2, 3, 17])('serves %i keys', async (count) => {
    const { index: small } = await indexed(keys.slice(0, count * dim), dim);
    const found = await small.search(queries, { k: 20, probes: 100, rerank: 2 });
    expectNeighbors(found, bruteForce(keys.slice(0, count * dim), dim, queries, { k: 20 }));
    await small.close();
  });

  it('refuses settings that mean nothing', async () => {
    for (const bad of [{ probes: 0 }, { probes: 1.5 }, { rerank: 0.5 }, { spreadWeight: -1 }]) {
      await expect(index.search(queries, { k: 1, ...bad })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      });
    }
  });

  it.each([{ threads: 0 }, { threads: 1.5 }, { memoryBytes: -1 }, { memoryBytes: Number.NaN }])(
    'refuses to open with %o',
    async (bad) => {
      await expect(IvfIndex.open({ folder, sources, ...bad })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: expect.stringContaining(Object.keys(bad)[0]!),
      });
    },
  );

  it('reports progress and stops cleanly', async () => {
    const there = await stored(keys, dim);
    const phases = new Set<string>();
    await buildIvf({ ...there, dim, threads: 2, onProgress: ({ phase }) => phases.add(phase) });
    expect([...phases]).toEqual(['training', 'assigning', 'writing']);
    const files = readdirSync(there.folder);
    const controller = new AbortController();
    const stopped = buildIvf({
      ...there,
      dim,
      signal: controller.signal,
      onProgress: ({ phase }) => phase === 'assigning' && controller.abort(),
    });
    await expect(stopped).rejects.toMatchObject({ code: 'ABORTED' });
    expect(readdirSync(there.folder)).toEqual(files);
  });

  it('leaves one index behind when it is built again', async () => {
    const there = await stored(keys, dim);
    await buildIvf({ ...there, dim });
    await buildIvf({ ...there, dim });
    expect(readdirSync(there.folder).sort()).toEqual([
      'ivf.json',
      expect.stringMatching(/^lists-.*\.bin$/),
    ]);
  });

  it.each([
    [{ lists: 0 }, 'lists'],
    [{ lists: n + 1 }, 'lists'],
    [{ threads: 0 }, 'threads'],
    [{ sources: [] }, 'no keys'],
  ])('refuses to build with %o', async (bad, word) => {
    const there = await stored(keys, dim);
    await expect(buildIvf({ ...there, dim, ...bad })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining(word),
    });
  });

  it('takes about four lists per root of the entries', () => {
    expect([1, 40, 10_000, 1_000_000, 16_000_000].map(defaultLists)).toEqual([
      1, 1, 312, 4096, 16384,
    ]);
  });
});

describe('lists of rows wide enough for sketches', () => {
  // 192 is no power of two: its dimensions are turned in blocks of 64.
  it.each([128, 192])('gives the same neighbors when rows are passed over (d = %d)', async (d) => {
    const keys = clustered(8000, d, 40, 5);
    const queries = clustered(24, d, 40, 6);
    const { index, folder, sources } = await indexed(keys, d, { lists: 40 });
    const options = { k: 60, probes: 24, rerank: 0 };
    // A list is sketched when it is wanted for the second time.
    const whole = await index.search(queries, options);
    await index.search(queries, options);
    for (let q = 0; q < 24; q++) {
      const alone = await index.search(queries.slice(q * d, (q + 1) * d), options);
      expect(alone.ids).toEqual(whole.ids.slice(q * 60, (q + 1) * 60));
      expect(alone.distances).toEqual(whole.distances.slice(q * 60, (q + 1) * 60));
    }
    expect(await index.search(queries, options)).toEqual(whole);
    const one = await IvfIndex.open({ folder, sources, threads: 1 });
    for (let i = 0; i < 3; i++) expect(await one.search(queries, options)).toEqual(whole);
    await one.close();
    await index.close();
  });

  it('tells most rows of a list to be too far, and none of the near ones', async () => {
    const d = 128;
    const keys = spread(clustered(3000, 6, 2, 7), 6, clustered(6, d, 6, 8), d);
    const { index, folder } = await indexed(keys, d, { lists: 4 });
    const { header } = index;
    const table = openTable(join(folder, header.file.name), header);
    const layout = new Layout();
    const at = sketchAddresses(layout, table.layout.padded, 1024);
    const room = layout.take(2 ** 20);
    const memory = new KernelMemory(await compileListKernels(), layout.end);
    const sketches = new ListSketches(memory, at, table);
    const list = [...table.rows.keys()].find((l) => table.rows[l]! >= 200)!;
    const count = Math.min(1024, table.rows[list]!);
    const { offsets, handle } = table;
    const bytes = offsets[list + 1]! - offsets[list]!;
    const file = { path: folder, position: offsets[list]! };
    readFully(handle, memory.u8.subarray(room, room + bytes), file);
    const parts = listLayout(table.rows[list]!, table.layout.padded);
    const extra = room + 2 ** 19;
    const lies = { number: list, codes: room + parts.codes, scales: room + parts.scales };
    sketches.make(lies, extra);
    const decoded = decodeRows(memory, table, room + parts.codes, room + parts.scales, count);
    const center = decodeCenter(table, list);
    let [kept, near] = [0, 0];
    for (let q = 0; q < 50; q++) {
      const query = keys.slice(q * 50 * d, (q * 50 + 1) * d);
      const { mean, unit } = table.space;
      const z = query.map((x, j) => (x - mean[j]!) / unit);
      const distances = decoded.map((row) => squared(z, row));
      const limit = [...distances].sort((a, b) => a - b)[9]!;
      sketches.begin(query);
      const rows = { list, address: extra, first: 0, count, centerDistance: squared(z, center) };
      const { found, count: passed } = sketches.mayBeWithin(limit, 0, rows);
      const numbers = new Set(memory.u32.subarray(found / 4, found / 4 + passed));
      kept += passed;
      for (const [row, distance] of distances.entries()) {
        if (distance > limit) continue;
        near++;
        expect(numbers.has(row)).toBe(true);
      }
    }
    expect(near).toBeGreaterThanOrEqual(500);
    expect(kept / (50 * count)).toBeLessThan(0.5);
    closeSync(handle);
    await index.close();
  });
});

/** Rows of few dimensions spread over many, as those of a model's states are: (n, few) · (few, d). */
function spread(rows: Float32Array, few: number, over: Float32Array, d: number): Float32Array {
  const out = new Float32Array((rows.length / few) * d);
  for (let i = 0; i < rows.length; i++) {
    for (let j = 0; j < d; j++) {
      out[Math.floor(i / few) * d + j]! += rows[i]! * over[(i % few) * d + j]!;
    }
  }
  return out;
}

const squared = (a: ArrayLike<number>, b: ArrayLike<number>): number => {
  let sum = 0;
  for (let j = 0; j < b.length; j++) sum += ((a[j] ?? 0) - b[j]!) ** 2;
  return sum;
};

function decodeRows(
  { u8, f32 }: KernelMemory,
  { layout, space }: OpenTable,
  codes: number,
  scales: number,
  count: number,
): number[][] {
  return Array.from({ length: count }, (_, i) =>
    Array.from(
      space.scale,
      (s, j) => (u8[codes + i * layout.padded + j]! - 128) * s * f32[scales / 4 + i]!,
    ),
  );
}

function decodeCenter({ bytes, layout, space }: OpenTable, list: number): number[] {
  const scale = new Float32Array(bytes.buffer, layout.scales, layout.lists)[list]!;
  const start = layout.codes + list * layout.padded;
  return Array.from(space.scale, (s, j) => (bytes[start + j]! - 128) * s * scale);
}

describe('a damaged inverted file', () => {
  const dim = 16;
  const keys = clustered(2000, dim, 20, 5);
  const query = keys.slice(0, dim);

  async function damaged(damage: (folder: string, lists: string) => void) {
    const { folder, sources } = await stored(keys, dim);
    const { file } = await buildIvf({ folder, sources, dim, lists: 16 });
    damage(folder, join(folder, file.name));
    const index = await IvfIndex.open({ folder, sources, threads: 2 });
    try {
      return await index.search(query, { k: 5, probes: 16 });
    } finally {
      await index.close();
    }
  }

  function flipBit(path: string, place: number): void {
    const bytes = readFileSync(path);
    bytes[Math.floor(place * bytes.length)]! ^= 4;
    writeFileSync(path, bytes);
  }
  const corrupt = { code: 'STORE_CORRUPT', message: expect.stringContaining('knnlm index') };

  it('works undamaged', async () => {
    expect((await damaged(() => {})).ids[0]).toBe(0);
  });

  it.each([0, 0.01, 0.5, 0.8, 0.9999])(
    'is refused when a bit flips at %d of its length',
    async (place) => {
      await expect(damaged((_, lists) => flipBit(lists, place))).rejects.toMatchObject(corrupt);
    },
  );

  it.each([0.3, 0.6])('is refused when a bit of its header flips at %d', async (place) => {
    await expect(
      damaged((folder) => flipBit(join(folder, 'ivf.json'), place)),
    ).rejects.toMatchObject(corrupt);
  });

  it('is refused when it was cut short', async () => {
    await expect(damaged((_, lists) => truncateSync(lists, 20_000))).rejects.toMatchObject(corrupt);
    await expect(damaged((_, lists) => truncateSync(lists, 100))).rejects.toMatchObject(corrupt);
    await expect(
      damaged((folder) => truncateSync(join(folder, 'ivf.json'), 100)),
    ).rejects.toMatchObject(corrupt);
  });

  it('is refused when its format is of a later program', async () => {
    const later = (folder: string) => {
      const path = join(folder, 'ivf.json');
      const { header } = JSON.parse(readFileSync(path, 'utf8'));
      header.version = 3;
      writeFileSync(path, JSON.stringify({ crc32: crc32(JSON.stringify(header)), header }));
    };
    await expect(damaged(later)).rejects.toMatchObject({
      code: 'STORE_VERSION',
      message: expect.stringContaining('version 3'),
    });
  });
});
