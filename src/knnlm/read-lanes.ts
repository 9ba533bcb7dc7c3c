/**
 * Reads lanes of text side by side, position by position: what memory holds for the next token of each, then the tokens. Where the
 * index is asked for every position it is asked for many at once, ahead of their time; where that depends on what
 * was found before, lanes that read at the same time share their searches.
 */
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { ContinuousCache } from './continuous-cache.ts';
import type { Lane, Recall, Recaller } from './recall.ts';
import { neighborRow } from './retriever.ts';
import type { Recollection } from './weigh.ts';

/** Queries searched at once: their neighbors take 12 bytes each, 12 MB for k = 1,024. */
const QUERIES_AT_ONCE = 1024;

/** A run of positions with the states that predict them. Shapes: n positions, d key width. */
export interface TextLane {
  lane: Lane;
  /** (n) token ids. */
  targets: Int32Array;
  /** (n) the model's largest log-probability. */
  best: Float32Array;
  /** (n, d) */
  queries: Float32Array;
  /** Position in the text of the first. */
  start: number;
  /** All states of the text before the lane's end. */
  cache?: ContinuousCache;
}

/** One position that has been recalled. */
export interface Step {
  /** Number of the lane. */
  lane: number;
  /** Position in the lane. */
  at: number;
  recollection: Recollection;
}

export interface ReadLanesOptions {
  signal?: AbortSignal;
  /** Ends the message of an `ABORTED`: "The … was stopped." */
  what: string;
}

/** Yields the steps of all lanes that are as long, from the first position on. Errors: `ABORTED`, those of searching. */
export async function* readLanes(
  lanes: readonly TextLane[],
  recaller: Recaller,
  { signal, what }: ReadLanesOptions,
): AsyncGenerator<Step[]> {
  const longest = lanes.reduce((most, { targets }) => Math.max(most, targets.length), 0);
  const breather = new Breather();
  const ahead = recaller.searchesAll ? Math.max(1, Math.floor(QUERIES_AT_ONCE / lanes.length)) : 1;
  for (let first = 0; first < longest; first += ahead) {
    if (signal?.aborted) throw new KnnLMError('ABORTED', `The ${what} was stopped.`);
    const end = Math.min(longest, first + ahead);
    const found = recaller.searchesAll
      ? await searchAhead(lanes, recaller, [first, end])
      : undefined;
    for (let at = first; at < end; at++) {
      const own = lanes.map((_, i) => i).filter((i) => at < lanes[i]!.targets.length);
      const recalls = own.map((i) => recallOf(lanes[i]!, at, found?.[i]?.[at - first]));
      const recollections = await recaller.recall(recalls);
      yield own.map((lane, i) => ({ lane, at, recollection: recollections[i]! }));
      for (const [i, lane] of own.entries())
        recaller.observe(recalls[i]!, recollections[i]!, lanes[lane]!.targets[at]!);
      await breather.pause();
    }
  }
}

function recallOf(lane: TextLane, at: number, found: Recall['found']): Recall {
  const d = widthOf(lane);
  const query = lane.queries.subarray(at * d, (at + 1) * d);
  return {
    lane: lane.lane,
    query,
    best: lane.best[at]!,
    cached: lane.cache?.nearest(query, lane.start + at),
    found,
  };
}

/** What the index has for positions [first, end) of every lane. */
async function searchAhead(
  lanes: readonly TextLane[],
  recaller: Recaller,
  [first, end]: readonly [number, number],
): Promise<Recall['found'][][]> {
  const counts = lanes.map(({ targets }) => Math.max(0, Math.min(end, targets.length) - first));
  const asked = lanes.flatMap((lane, i) => Array.from({ length: counts[i]! }, () => lane));
  if (asked.length === 0) return lanes.map(() => []);
  const d = widthOf(asked[0]!);
  const queries = new Float32Array(asked.length * d);
  let filled = 0;
  for (const [i, lane] of lanes.entries()) {
    queries.set(lane.queries.subarray(first * d, (first + counts[i]!) * d), filled);
    filled += counts[i]! * d;
  }
  const found = await recaller.search(
    queries,
    asked.map(({ lane }) => lane),
  );
  let row = 0;
  return counts.map((count) =>
    Array.from({ length: count }, () => ('failed' in found ? found : neighborRow(found, row++))),
  );
}

/** d */
const widthOf = ({ queries, targets }: TextLane): number => queries.length / targets.length;
