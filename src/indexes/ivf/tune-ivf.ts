/**
 * Chooses how an inverted file is searched by what its errors cost. Some queries are answered by reading every list, with
 * exact distances; then with few lists and more and more, until whoever asked is satisfied with the difference. What
 * a difference costs only the caller knows (this room has no tokens): he gives a function.
 */
import { Breather } from '../../math/breather.ts';
import type { IdRange } from '../../math/vectors.ts';
import type { Neighbors } from '../vector-index.ts';
import { type IvfHeader, type IvfSettings, writeHeader } from './ivf-header.ts';
import type { IvfIndex } from './ivf-index.ts';

export interface IndexTrials {
  /** Folder of the index: its header gets the settings. */
  folder: string;
  /** (q, d) queries like those to come. */
  queries: Float32Array;
  /** (q) what each must not find: itself, at least, when it is a stored key. */
  excludePerQuery?: readonly (readonly IdRange[])[];
  exclude?: readonly IdRange[];
  k: number;
  /** The cost of finding `found` instead of `truth`; 0 is none. */
  judge: (found: Neighbors, truth: Neighbors) => number | Promise<number>;
  /** Most that it may cost. */
  maxError: number;
  onTrial?: (trial: Trial) => void;
  signal?: AbortSignal;
}

/** One setting, measured. */
export interface Trial extends IvfSettings {
  /** Share of the true neighbors found. */
  recall: number;
  /** As judged. */
  error: number;
  /** How many were searched. */
  queries: number;
}

/** Keys compared exactly per neighbor wanted: on real keys all errors of the 8-bit order lie within. */
const RERANK = 1.25;

/** As far as keys are compared where distances of the codes are rough: most true neighbors are among so many per k. */
export const DEEPER: readonly number[] = [0, 2, 4];

export interface TunedIvf {
  header: IvfHeader;
  trials: Trial[];
  chosen: Trial;
  /** False when even reading all lists costs more than allowed. */
  reached: boolean;
  /** What exact search finds. */
  truth: Neighbors;
}

/** Chooses how many lists are read. For 8-bit codes, whose distances are all but exact. */
export async function tuneIvf(index: IvfIndex, options: IndexTrials): Promise<TunedIvf> {
  const { lists, settings } = index.header;
  const { spreadWeight } = settings;
  const truth = await search(index, options, { probes: lists, rerank: RERANK });
  const ladders = [0, RERANK].map((rerank) =>
    ladder(lists).map((probes) => ({ probes, rerank, spreadWeight })),
  );
  return await firstGoodEnough(index, ladders, { ...options, truth });
}

/** Chooses how many neighbors are compared by their keys, in as many lists as the index reads. For product codes. */
export async function tuneRerank(
  index: IvfIndex,
  options: IndexTrials & { truth: Neighbors; reranks: readonly number[] },
): Promise<TunedIvf> {
  const candidates = options.reranks.map((rerank) => ({ ...index.header.settings, rerank }));
  return await firstGoodEnough(index, [candidates], options);
}

/**
 * The first setting within the error; the last if there is none. It is stored. Each ladder goes from quick settings to exact
 * ones; it is left for the next when going on no longer lowers the error, since what remains is the codes'.
 */
async function firstGoodEnough(
  index: IvfIndex,
  ladders: readonly (readonly IvfSettings[])[],
  options: IndexTrials & { truth: Neighbors },
): Promise<TunedIvf> {
  const { folder, maxError, truth, k } = options;
  const queries = options.queries.length / index.dim;
  const trials: Trial[] = [];
  climbing: for (const ladder of ladders) {
    const errors: number[] = [];
    for (const settings of ladder) {
      const found = await search(index, options, settings);
      const recall = await recallOf(found, truth);
      const error = await options.judge(found, truth);
      const trial: Trial = { ...settings, recall, error, queries };
      trials.push(trial);
      options.onTrial?.(trial);
      if (error <= maxError) break climbing;
      errors.push(error);
      if (ladder !== ladders.at(-1) && hasLevelled(errors)) break;
    }
  }
  const chosen = trials.at(-1)!;
  const { probes, rerank, spreadWeight, recall, error } = chosen;
  const settings: IvfSettings = { probes, rerank, spreadWeight };
  const evidence = { queries, k, maxError, error, recall };
  const header = { ...index.header, settings, evidence };
  await writeHeader(folder, header);
  index.settings = settings;
  return { header, trials, chosen, reached: error <= maxError, truth };
}

/** Whether the last two steps lowered the error by less than a fiftieth each. */
function hasLevelled(errors: readonly number[]): boolean {
  const [before, last, now] = errors.slice(-3);
  if (now === undefined) return false;
  return last! > 0.98 * before! && now > 0.98 * last!;
}

/** 4, 6, 8, 12, 16, 24, … and all lists. */
function ladder(lists: number): number[] {
  const steps: number[] = [];
  for (let base = 4; base < lists; base *= 2) {
    steps.push(base);
    if (base * 1.5 < lists) steps.push(base * 1.5);
  }
  return [...steps, lists];
}

function search(index: IvfIndex, options: IndexTrials, settings: Partial<IvfSettings>) {
  const { queries, k, exclude, excludePerQuery, signal } = options;
  return index.search(queries, { k, exclude, excludePerQuery, signal, ...settings });
}

/** Share of the true neighbors that were found. */
export async function recallOf(found: Neighbors, truth: Neighbors): Promise<number> {
  const { k } = truth;
  const breather = new Breather();
  let hits = 0;
  let wanted = 0;
  for (let row = 0; row < truth.ids.length; row += k) {
    const near = new Set(truth.ids.subarray(row, row + k));
    near.delete(-1);
    wanted += near.size;
    for (const id of found.ids.subarray(row, row + k)) if (near.has(id)) hits++;
    await breather.pause();
  }
  return hits / Math.max(1, wanted);
}
