/** A worker that searches its share of an inverted file's lists. One task at a time. */
import { parentPort, workerData } from 'node:worker_threads';
import { KnnLMError } from '../../errors.ts';
import { yieldToEventLoop } from '../../worker-priority.ts';
import { bytesPerKey } from '../chunk.ts';
import { IntegerProduct } from '../integer-product.ts';
import type { Answer } from '../worker-pool.ts';
import {
  BLOCK_ROWS,
  type ListTask,
  type ListWorkerStart,
  type RankedRows,
  type ReadyResult,
} from './ivf-task.ts';
import { ListCache } from './list-cache.ts';
import { KernelMemory, Layout, MOST_MEMORY_BYTES } from './list-kernels.ts';
import { ListSearch } from './list-search.ts';
import { ListSketches, sketchAddresses, sketchBlock, sketchBytes } from './list-sketches.ts';
import { roundUp } from './lists-file.ts';
import { MeasureCodes } from './measure-codes.ts';
import { type OpenTable, openTable } from './open-table.ts';
import { ProductLists, productAddresses } from './product-lists.ts';
import { Reranker, rerankLayout } from './rerank.ts';
import { searchLayout } from './row-scanner.ts';

yieldToEventLoop();

const { module, worker, workers, path, header, sources, cacheBytes } =
  workerData as ListWorkerStart;
const has = (list: number): boolean => list % workers === worker;
let search: ListSearch;
let reranker: Reranker | undefined;
let codes: MeasureCodes | undefined;

async function open(): Promise<ReadyResult> {
  const table = openTable(path, header);
  const product = await IntegerProduct.create().catch(() => undefined);
  const layout = new Layout();
  const at = searchLayout(layout, table.layout);
  const productAt = header.codec && productAddresses(layout, table);
  const { padded } = table.layout;
  const isSketched = !header.codec && sketchBlock(padded) !== undefined;
  const sketchAt = isSketched ? sketchAddresses(layout, padded, BLOCK_ROWS) : undefined;
  const extraBytes = (list: number): number =>
    isSketched ? sketchBytes(table.rows[list]!, padded) : 0;
  const { dtype } = sources[0] ?? {};
  const rerankAt = dtype && rerankLayout(layout, header.dim, bytesPerKey(dtype, header.dim));
  const bytes = ringBytes(table, extraBytes, MOST_MEMORY_BYTES - layout.end);
  const start = layout.take(bytes);
  const memory = new KernelMemory(module, layout.end);
  const { handle, offsets, checksums } = table;
  const cache = new ListCache({
    u8: memory.u8,
    start,
    end: start + bytes,
    path,
    handle,
    offsets,
    checksums,
    extraBytes,
  });
  const sketches = sketchAt && new ListSketches(memory, sketchAt, table);
  const productLists = productAt && new ProductLists(memory, productAt, table);
  search = new ListSearch({
    ...{ memory, at, table, cache, product, productLists, sketches },
    ...{ worker, workers, has },
  });
  if (rerankAt) reranker = new Reranker(memory, rerankAt, sources, header.dim);
  else if (productLists) codes = new MeasureCodes({ memory, at, table, cache, productLists, has });
  return { memoryBytes: bytes + table.layout.end };
}

/** Room for all of this worker's lists, or for what it may hold, but for its largest one at least. */
function ringBytes(
  { offsets }: OpenTable,
  extraBytes: (list: number) => number,
  most: number,
): number {
  let all = 0;
  let largest = 0;
  for (let l = worker; l + 1 < offsets.length; l += workers) {
    const bytes = roundUp(offsets[l + 1]! - offsets[l]!, 64) + extraBytes(l);
    all += bytes;
    largest = Math.max(largest, bytes);
  }
  return Math.min(all, most, Math.max(cacheBytes, largest));
}

type Result = ReadyResult | RankedRows | Float32Array;

async function perform(task: ListTask): Promise<Result> {
  switch (task.kind) {
    case 'ready':
      return open();
    case 'probe':
      return search.run(task);
    case 'rerank':
      return reranker!.run(task);
    case 'measure':
      return reranker ? reranker.measure(task) : codes!.run(task);
  }
}

parentPort!.on('message', async (task: ListTask) => {
  const answer: Answer<Result> = await perform(task).then(
    (result) => ({ result }),
    (error) => ({
      error:
        error instanceof KnnLMError
          ? { message: error.message, code: error.code }
          : { message: error instanceof Error ? (error.stack ?? error.message) : `${error}` },
    }),
  );
  const result = 'result' in answer ? answer.result : undefined;
  const rows = result && 'pairs' in result ? result.pairs : result;
  parentPort!.postMessage(answer, rows && 'buffer' in rows ? [rows.buffer as ArrayBuffer] : []);
});
