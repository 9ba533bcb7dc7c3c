/** Scores windows and retrieves what memory holds for their wanted positions, in batches, into tables for fitting. */
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel, ScoredWindow } from '../model/language-model.ts';
import { CachedEvidence, type EvidenceTable, MOST_EVIDENCE } from './cached-evidence.ts';
import { CachedNeighbors, type NeighborTable } from './cached-neighbors.ts';
import { ContinuousCache } from './continuous-cache.ts';
import { readLanes, type TextLane } from './read-lanes.ts';
import { sourcesOf } from './read-tokens.ts';
import { Lane, Recaller } from './recall.ts';
import type { Retriever } from './retriever.ts';
import type { TuningWindow } from './tuning-windows.ts';
import type { Progress } from './types.ts';

/** Positions handed to the model at once, as in evaluation. */
const POSITIONS_AT_ONCE = 8192;

export interface CollectOptions {
  k: number;
  /** Resample documents; else windows, when documents are few. */
  unitIsDocument: boolean;
  /** Whether the text so far and pointers are collected too. Default false. */
  withEvidence?: boolean;
  /** Targets of which they are kept, at most. Default `MOST_EVIDENCE`. */
  mostEvidence?: number;
  exclude?: readonly IdRange[];
  /** See `RetrievalRequest`. Default 1. */
  effort?: number;
  phase: string;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface Collected {
  neighbors: NeighborTable;
  /** Of some of the targets. */
  evidence?: EvidenceTable;
}

/** Errors: `ABORTED`, `INVALID_ARGUMENT` when there is not so much memory. */
export async function collectNeighbors(
  windows: readonly TuningWindow[],
  { model, retriever }: { model: LanguageModel; retriever: Retriever },
  options: CollectOptions,
): Promise<Collected> {
  const k = Math.max(1, Math.min(options.k, retriever.index.size));
  const places = openTables(windows, k, options);
  const { tables, kept, total } = places;
  const recaller = (pointers: boolean): Recaller =>
    new Recaller(retriever, {
      settings: {
        ...{ k, lambda: 1, temperature: 1, effort: options.effort },
        ...(pointers && { pointers: true }),
      },
      exclude: options.exclude,
      signal: options.signal,
    });
  // What is not kept is not looked for: of most windows of a long text the neighbors are all that is wanted.
  const readers = [recaller(true), recaller(false)] as const;
  const texts = new Texts(model.info.keyDim);
  let done = 0;
  let group = scoreGroup(windows, 0, model);
  for (let at = 0; at < windows.length; ) {
    const scored = await group.scored;
    const { count } = group;
    // The model reads the next group while this one is searched.
    group = scoreGroup(windows, at + count, model);
    const read: ReadWindow[] = [];
    for (let i = 0; i < count; i++) {
      const [number, window] = [at + i, windows[at + i]!];
      const past = options.withEvidence ? await texts.read(window, scored[i]!) : undefined;
      const lane = laneOf(window, scored[i]!, kept.has(number) ? past : undefined);
      read.push({ number, window, scored: scored[i]!, lane });
    }
    for (const [i, reader] of readers.entries()) {
      const own = read.filter(({ number }) => kept.has(number) === (i === 0));
      for await (const count of collectLanes(own, reader, { ...options, ...places })) {
        done += count;
        options.onProgress?.({ done, total, unit: 'tokens', phase: options.phase });
      }
    }
    texts.forget();
    at += count;
  }
  return { neighbors: tables.neighbors.table(), evidence: tables.evidence?.table() };
}

/** A window that the model has read. */
interface ReadWindow {
  /** Among all. */
  number: number;
  window: TuningWindow;
  scored: ScoredWindow;
  lane: TextLane;
}

/** Fills the tables' rows of some windows. @returns how many at a time */
async function* collectLanes(
  read: readonly ReadWindow[],
  recaller: Recaller,
  { tables, firsts, unitIsDocument, signal }: Places & CollectOptions,
): AsyncGenerator<number> {
  const lanes = read.map(({ lane }) => lane);
  for await (const steps of readLanes(lanes, recaller, { signal, what: 'tuning' })) {
    for (const { lane, at, recollection } of steps) {
      const { number, window, scored } = read[lane]!;
      const row = firsts[number]! + at;
      const target = lanes[lane]!.targets[at]!;
      tables.neighbors.set(
        row,
        {
          ...recollection.found,
          k: recollection.found.values.length,
          lm: [scored.logProbs[window.positions[at]!]!],
          targets: [target],
          units: [unitIsDocument ? window.document : number],
        },
        0,
      );
      tables.evidence?.set(row, recollection, target);
    }
    yield steps.length;
  }
}

interface Tables {
  neighbors: CachedNeighbors;
  evidence: CachedEvidence | undefined;
}

/** Room for all windows. */
interface Places {
  tables: Tables;
  /** The row of each window's first target. */
  firsts: number[];
  /** Numbers of the windows whose evidence is kept. */
  kept: ReadonlySet<number>;
  /** Targets. */
  total: number;
}

function openTables(windows: readonly TuningWindow[], k: number, options: CollectOptions): Places {
  const firsts: number[] = [];
  let total = 0;
  for (const { positions } of windows) {
    firsts.push(total);
    total += positions.length;
  }
  try {
    const neighbors = new CachedNeighbors(total, k);
    const kept = new Set(options.withEvidence ? keptWindows(windows, total, options) : []);
    const evidence = options.withEvidence ? openEvidence(windows, firsts, { kept, k }) : undefined;
    return { tables: { neighbors, evidence }, firsts, kept, total };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    const gigabytes = ((total * k * 4.2) / 1e9).toFixed(1);
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${total} tokens with ${k} neighbors each take ${gigabytes} GB of memory, more than there is. Use fewer tokens or a smaller k.`,
      { cause: error },
    );
  }
}

/** Whole windows, spread evenly where there are too many. @returns their numbers */
function keptWindows(
  windows: readonly TuningWindow[],
  total: number,
  { mostEvidence = MOST_EVIDENCE }: Pick<CollectOptions, 'mostEvidence'>,
): number[] {
  const share = Math.min(1, mostEvidence / Math.max(1, total));
  // Taken where the running share reaches the next whole window.
  return Array.from(windows.keys()).filter(
    (w) => Math.floor((w + 1) * share) > Math.floor(w * share),
  );
}

function openEvidence(
  windows: readonly TuningWindow[],
  firsts: readonly number[],
  { kept, k }: { kept: ReadonlySet<number>; k: number },
): CachedEvidence {
  const rows: number[] = [];
  const lanes: number[] = [];
  for (const w of kept) {
    for (let i = 0; i < windows[w]!.positions.length; i++) {
      rows.push(firsts[w]! + i);
      lanes.push(w);
    }
  }
  return new CachedEvidence(rows, lanes, k);
}

function scoreGroup(
  windows: readonly TuningWindow[],
  at: number,
  model: LanguageModel,
): { count: number; scored: Promise<ScoredWindow[]> } {
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

/** The pasts of the documents that windows are of. One that does not go on where the last one ended has its own past alone. */
class Texts {
  readonly #dim: number;
  #document = -1;
  /** Positions [first, end) of the document are remembered. */
  #first = 0;
  #end = 0;
  #cache: ContinuousCache | undefined;

  constructor(dim: number) {
    this.#dim = dim;
  }

  /** @returns the past of the window's document, its own states included, and where in it the window begins */
  async read(
    { document, start, targets }: TuningWindow,
    { keys }: ScoredWindow,
  ): Promise<{ cache: ContinuousCache; start: number }> {
    if (!this.#cache || document !== this.#document || start > this.#end) {
      this.#cache = await ContinuousCache.open(this.#dim);
      this.#document = document;
      this.#first = start;
      this.#end = start;
    }
    const d = this.#dim;
    for (let i = this.#end - start; i < targets.length; i++)
      this.#cache.add(keys.subarray(i * d, (i + 1) * d), targets[i]!);
    this.#end = start + targets.length;
    return { cache: this.#cache, start: start - this.#first };
  }

  /** What no window from here on reaches. */
  forget(): void {
    this.#cache?.forgetBefore(this.#end - this.#first);
  }
}

function laneOf(
  { positions, targets, exclude }: TuningWindow,
  { keys, best }: ScoredWindow,
  past: { cache: ContinuousCache; start: number } | undefined,
): TextLane {
  const d = keys.length / targets.length;
  const first = positions[0] ?? 0;
  const end = (positions.at(-1) ?? -1) + 1;
  return {
    lane: new Lane(exclude),
    targets: targets.subarray(first, end),
    best: best.subarray(first, end),
    queries: keys.subarray(first * d, end * d),
    start: (past?.start ?? 0) + first,
    cache: past?.cache,
  };
}
