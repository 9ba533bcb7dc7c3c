/** A worker that rewrites lists of product codes: rows left out, renumbered, added. Codes are copied as they are. */
import { parentPort, workerData } from 'node:worker_threads';
import { crc32 } from 'node:zlib';
import { KnnLMError } from '../../errors.ts';
import type { IdRange } from '../../math/vectors.ts';
import type { Answer } from '../worker-pool.ts';
import { corruptIndex, type IvfHeader } from './ivf-header.ts';
import { openTable, readFully } from './open-table.ts';
import { type ProductRows, packLists, unpackList } from './product-list.ts';
import type { RewriterStart, RewriteTask } from './rewrite-task.ts';
import type { PackedLists } from './write-product-file.ts';

const { path, header, keep, added } = workerData as RewriterStart;
const codec = header.codec!;
const m = codec.subquantizers;

/** Gives the rows of a list of a file. */
function reader(path: string, header: IvfHeader): (list: number) => ProductRows {
  const table = openTable(path, header);
  return (list) => {
    const [start, end] = [table.offsets[list]!, table.offsets[list + 1]!];
    const bytes = new Uint8Array(end - start);
    readFully(table.handle, bytes, { path, position: start });
    if (crc32(bytes) !== table.checksums[list]) {
      throw corruptIndex(`List ${list} of the index file ${path} does not match its checksum`);
    }
    return unpackList(bytes, table.rows[list]!, codec);
  };
}

const read = reader(path, header);
const readAdded = added && reader(added.path, added.header);

/** Only rows of the ranges, with ids that count through these. */
function kept({ ids, biases, codes, grid }: ProductRows, ranges: readonly IdRange[]): ProductRows {
  const rows: number[] = [];
  const numbers: number[] = [];
  let [r, before] = [0, 0];
  for (const [row, id] of ids.entries()) {
    for (; r < ranges.length && ranges[r]![1] <= id; r++) before += ranges[r]![1] - ranges[r]![0];
    if (r === ranges.length) break;
    if (id < ranges[r]![0]) continue;
    rows.push(row);
    numbers.push(before + id - ranges[r]![0]);
  }
  const left = new Uint8Array(rows.length * m);
  for (const [i, row] of rows.entries()) left.set(codes.subarray(row * m, (row + 1) * m), i * m);
  return {
    ids: Uint32Array.from(numbers),
    biases: Float32Array.from(rows, (row) => biases[row]!),
    codes: left,
    grid,
  };
}

/** @param parts by ascending ids */
function joined(parts: readonly ProductRows[]): ProductRows {
  const length = parts.reduce((sum, { ids }) => sum + ids.length, 0);
  const all = {
    ids: new Uint32Array(length),
    biases: new Float32Array(length),
    codes: new Uint8Array(length * m),
    grid: parts[0]!.grid,
  };
  let row = 0;
  for (const { ids, biases, codes } of parts) {
    all.ids.set(ids, row);
    all.biases.set(biases, row);
    all.codes.set(codes, row * m);
    row += ids.length;
  }
  return all;
}

function rewrite({ first, end }: RewriteTask): PackedLists {
  const lists: ProductRows[] = [];
  for (let list = first; list < end; list++) {
    const own = keep ? kept(read(list), keep) : read(list);
    const more: ProductRows[] = [];
    for (const [from, to] of added?.listOf.entries() ?? []) {
      if (to !== list) continue;
      const rows = readAdded!(from);
      more.push({ ...rows, ids: rows.ids.map((id) => id + added!.firstId) });
    }
    lists.push(more.length > 0 ? joined([own, ...more]) : own);
  }
  return packLists(lists, codec);
}

parentPort!.on('message', (task: RewriteTask) => {
  let answer: Answer<PackedLists>;
  try {
    answer = { result: rewrite(task) };
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : `${error}`;
    answer =
      error instanceof KnnLMError
        ? { error: { message: error.message, code: error.code } }
        : { error: { message } };
  }
  parentPort!.postMessage(answer);
});
