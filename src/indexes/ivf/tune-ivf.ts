/**
 * Chooses how an inverted file is searched by what its errors cost. Some queries are answered by reading every list, with
 * exact distances; then with few lists and more and more, until whoever asked is satisfied with the difference. What
 * a difference costs only the caller knows (this room has no tokens): he gives a function.
 */
import { Breather } from '../../math/breather.ts';
import type { IdRange } from '../../math/vectors.ts';
import type { Neighbors, SearchOptions } from '../vector-index.ts';
import { type IvfHeader, type IvfSettings, writeHeader } from './ivf-header.ts';
import type { IvfIndex, IvfSearchOptions } from './ivf-index.ts';

export interface IndexTrials {
  /** Folder of the index: its header gets the settings. */
  folder: string;
  /** (q, d) queries like those to come. */
  queries: Float32Array;
  /** (q) what each must not find: itself, at least, when it is a stored key. */
  excludePerQuery?: readonly (readonly IdRange[])[];
  exclude?: readonly IdRange[];
  k: number;
  /** What finding `found` instead of `truth` costs. */
  judge: (found: Neighbors, truth: Neighbors) => Judgment | Promise<Judgment>;
  /** By what it is judged, to be told with the result. */
  judgedBy?: string;
  /** Most that it may cost. */
  maxError: number;
  /** Told, while the true neighbors are looked for, which shares of the lists were scanned and of the keys compared. */
  onTruth?: IvfSearchOptions['onShare'];
  onTrial?: (trial: Trial) => void;
  signal?: AbortSignal;
}

/** A mean over the queries; 0 is no error. */
export interface Judgment {
  error: number;
  /** Of that mean. */
  standardError: number;
}

/** One setting, measured. */
export interface Trial extends IvfSettings, Judgment {
  /** Share of the true neighbors found. */
  recall: number;
  /** How many were searched. */
  queries: number;
}

/** Keys compared exactly per neighbor wanted: on real keys all errors of the 8-bit order lie within. */
const RERANK = 1.25;
const LEAST_PROBES = 4;
/** Stores of 10⁶ and more entries end with one to five lists in a hundred (docs/results/inverted-file.md). */
const LIKELY_SHARE = 1 / 64;

/** As far as keys are compared where distances of the codes are rough: most true neighbors are among so many per k. */
export const DEEPER: readonly number[] = [0, 2, 4];

export interface TunedIvf {
  header: IvfHeader;
  trials: Trial[];
  chosen: Trial;
  /** False when the setting costs more than allowed beyond doubt: by more than two standard errors. */
  reached: boolean;
  /** What exact search finds. */
  truth: Neighbors;
}

/**
 * Chooses how many lists are read. For 8-bit codes, whose distances are all but exact.
 *
 * Where lists or keys exceed the page cache a trial costs a pass over the file, however few lists its queries read. So numbers
 * of lists are doubled or halved from a likely one, and halfway between the last two is tried once.
 */
export async function tuneIvf(index: IvfIndex, options: IndexTrials): Promise<TunedIvf> {
  const { lists } = index.header;
  const { onTruth: onShare } = options;
  const truth = await search(index, options, { probes: lists, rerank: RERANK, onShare });
  const trials = new Trials(index, { ...options, truth });
  const start = Math.max(LEAST_PROBES, 2 ** Math.floor(Math.log2(lists * LIKELY_SHARE)));
  const coded = await fewestLists(trials, { start: Math.min(start, lists), rerank: 0 });
  if (coded.good) return await trials.choose(coded.good);
  // What remains when more lists no longer help is the codes' error, or that of a few odd queries: one alone can be all of the
  // error that is allowed. Comparing keys reads them at random places, for every query ever: for an error beyond doubt only.
  const maybe = coded.climbed.find((trial) => trials.isMaybeGood(trial));
  if (maybe) return await trials.choose(maybe);
  const { probes } = coded.climbed.at(-3) ?? coded.climbed[0]!;
  const compared = await fewestLists(trials, { start: probes, rerank: RERANK });
  return await trials.choose(compared.good ?? trials.last);
}

/** Chooses how many neighbors are compared by their keys, in as many lists as the index reads. For product codes. */
export async function tuneRerank(
  index: IvfIndex,
  options: IndexTrials & { truth: Neighbors; reranks: readonly number[] },
): Promise<TunedIvf> {
  const trials = new Trials(index, options);
  for (const rerank of options.reranks) {
    const trial = await trials.run({ ...index.header.settings, rerank });
    if (trials.isGood(trial)) break;
  }
  return await trials.choose(trials.last);
}

/**
 * The fewest lists within the error.
 * @returns none good when all lists are not enough, or when the last two doublings did not help
 */
async function fewestLists(
  trials: Trials,
  { start, rerank }: { start: number; rerank: number },
): Promise<{ good?: Trial; climbed: Trial[] }> {
  const { lists, settings } = trials.index.header;
  const run = (probes: number) => trials.run({ ...settings, probes, rerank });
  let good = await run(start);
  const climbed = [good];
  if (trials.isGood(good)) {
    for (let fewer = start / 2; fewer >= LEAST_PROBES; fewer /= 2) {
      const trial = await run(fewer);
      if (!trials.isGood(trial)) break;
      good = trial;
    }
  } else {
    for (let more = start; !trials.isGood(good); climbed.push(good)) {
      if (more === lists || (rerank === 0 && hasLevelled(climbed))) return { climbed };
      more = Math.min(2 * more, lists);
      good = await run(more);
    }
  }
  const between = 0.75 * good.probes;
  const trial =
    Number.isInteger(between) && between > LEAST_PROBES ? await run(between) : undefined;
  return { good: trial && trials.isGood(trial) ? trial : good, climbed };
}

/** Whether the last two doublings lowered the error by less than an eighth each. */
function hasLevelled(climbed: readonly Trial[]): boolean {
  const [before, last, now] = climbed.slice(-3).map(({ error }) => error);
  if (now === undefined) return false;
  return last! > 0.875 * before! && now > 0.875 * last!;
}

/** Settings that are tried, and the one that is stored in the end. */
class Trials {
  readonly index: IvfIndex;
  readonly #options: IndexTrials & { truth: Neighbors };
  readonly #trials: Trial[] = [];

  constructor(index: IvfIndex, options: IndexTrials & { truth: Neighbors }) {
    this.index = index;
    this.#options = options;
  }

  get last(): Trial {
    return this.#trials.at(-1)!;
  }

  isGood({ error }: Trial): boolean {
    return error <= this.#options.maxError;
  }

  /** Whether other queries might well have shown an error that is allowed: within two standard errors. */
  isMaybeGood({ error, standardError }: Trial): boolean {
    return error - 2 * standardError <= this.#options.maxError;
  }

  async run({ probes, rerank, spreadWeight }: IvfSettings): Promise<Trial> {
    const { truth, judge, queries, onTrial } = this.#options;
    const settings: IvfSettings = { probes, rerank, spreadWeight };
    const found = await search(this.index, this.#options, settings);
    const recall = await recallOf(found, truth);
    const judged = await judge(found, truth);
    const trial = { ...settings, recall, ...judged, queries: queries.length / this.index.dim };
    this.#trials.push(trial);
    onTrial?.(trial);
    return trial;
  }

  async choose(chosen: Trial): Promise<TunedIvf> {
    const { folder, maxError, truth, k, judgedBy } = this.#options;
    const { probes, rerank, spreadWeight, recall, error, standardError, queries } = chosen;
    const settings: IvfSettings = { probes, rerank, spreadWeight };
    const evidence = { queries, k, maxError, error, standardError, recall, judgedBy };
    const header = { ...this.index.header, settings, evidence };
    await writeHeader(folder, header);
    this.index.settings = settings;
    const reached = this.isMaybeGood(chosen);
    return { header, trials: this.#trials, chosen, reached, truth };
  }
}

function search(
  index: IvfIndex,
  options: IndexTrials,
  settings: Omit<IvfSearchOptions, keyof SearchOptions>,
) {
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
