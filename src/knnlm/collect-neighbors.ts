/** Scores windows and retrieves the neighbors of their wanted positions, in batches, into a cache. */
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel, ScoredWindow } from '../model/language-model.ts';
import { CachedNeighbors } from './cached-neighbors.ts';
import { sourcesOf } from './read-tokens.ts';
import type { Retriever } from './retriever.ts';
import type { TuningWindow } from './tuning-windows.ts';
import type { Progress } from './types.ts';

/** Positions handed to the model at once, as in evaluation. */
const POSITIONS_AT_ONCE = 8192;
/** Queries searched at once: enough for the index to batch; k = 1,024 neighbors of each take 25 MB. */
const QUERIES_AT_ONCE = 2048;

export interface CollectOptions {
  k: number;
  /** Resample documents; else windows, when documents are few. */
  unitIsDocument: boolean;
  exclude?: readonly IdRange[];
  phase: string;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** Errors: `ABORTED`. */
export async function collectNeighbors(
  windows: readonly TuningWindow[],
  { model, retriever }: { model: LanguageModel; retriever: Retriever },
  options: CollectOptions,
): Promise<CachedNeighbors> {
  const total = windows.reduce((sum, { positions }) => sum + positions.length, 0);
  const k = Math.max(1, Math.min(options.k, retriever.index.size));
  const cache = openCache(total, k);
  let group = score(0);
  for (let at = 0; at < windows.length; ) {
    const scored = await group.scored;
    const { count } = group;
    // The model reads the next group while this one is searched.
    group = score(at + count);
    for (const batch of queryBatches(windows, scored, { at, count, dim: model.info.keyDim })) {
      if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The tuning was stopped.');
      await searchBatch(batch);
      options.onProgress?.({ done: cache.length, total, unit: 'tokens', phase: options.phase });
    }
    at += count;
  }
  return cache;

  function score(at: number): { count: number; scored: Promise<ScoredWindow[]> } {
    let count = 0;
    for (let held = 0; at + count < windows.length && held < POSITIONS_AT_ONCE; count++) {
      held += windows[at + count]!.inputs.length;
    }
    const part = windows.slice(at, at + count);
    const scored =
      count === 0
        ? Promise.resolve([])
        : model.score(
            part.map(({ inputs }) => inputs),
            part.map(({ targets }) => targets),
            { sources: sourcesOf(part) },
          );
    // When a search fails first, this one's failure must not go unhandled.
    scored.catch(() => {});
    return { count, scored };
  }

  async function searchBatch(batch: QueryBatch): Promise<void> {
    const excludePerQuery = batch.windows.map((w) => windows[w]!.exclude ?? []);
    const found = await retriever.retrieve(batch.queries, {
      k,
      exclude: options.exclude,
      ...(excludePerQuery.some((ranges) => ranges.length > 0) && { excludePerQuery }),
      signal: options.signal,
    });
    const units = batch.windows.map((w) => (options.unitIsDocument ? windows[w]!.document : w));
    const rows = { ...batch, ...found, units };
    const breather = new Breather();
    for (let row = 0; row < batch.windows.length; row++) {
      cache.append(rows, row);
      if ((row & 31) === 0) await breather.pause();
    }
  }
}

/** Errors: `INVALID_ARGUMENT` when there is not so much memory. */
function openCache(targets: number, k: number): CachedNeighbors {
  try {
    return new CachedNeighbors(targets, k);
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const gigabytes = ((targets * k * 4.2) / 1e9).toFixed(1);
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${targets} tokens with ${k} neighbors each take ${gigabytes} GB of memory, more than there is. Use fewer tokens or a smaller k.`,
      { cause: error },
    );
  }
}

interface QueryBatch {
  /** (b, d) */
  queries: Float32Array;
  /** (b) */
  lm: Float32Array;
  /** (b) */
  targets: Int32Array;
  /** (b) number of the window each comes from */
  windows: number[];
}

/** The wanted positions of scored windows, gathered until they fill a batch. */
function* queryBatches(
  windows: readonly TuningWindow[],
  scored: readonly ScoredWindow[],
  { at, count, dim }: { at: number; count: number; dim: number },
): Generator<QueryBatch> {
  const wanted: { window: number; position: number }[] = [];
  for (let i = 0; i < count; i++) {
    for (const position of windows[at + i]!.positions) wanted.push({ window: i, position });
  }
  for (let start = 0; start < wanted.length; start += QUERIES_AT_ONCE) {
    const part = wanted.slice(start, start + QUERIES_AT_ONCE);
    const queries = new Float32Array(part.length * dim);
    part.forEach(({ window, position }, row) => {
      const { keys } = scored[window]!;
      queries.set(keys.subarray(position * dim, (position + 1) * dim), row * dim);
    });
    yield {
      queries,
      lm: Float32Array.from(part, ({ window, position }) => scored[window]!.logProbs[position]!),
      targets: Int32Array.from(part, (p) => windows[at + p.window]!.targets[p.position]!),
      windows: part.map(({ window }) => at + window),
    };
  }
}
