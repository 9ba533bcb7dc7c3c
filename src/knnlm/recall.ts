/**
 * What memory holds for the next token of a text: pointers are followed, the index is asked where it is worth it, and what the
 * two give becomes one row. A text is read in lanes, the windows that its contexts are cut by; several go side by side,
 * so that their searches are one batch. Pointers live as long as the lane that found them, in every way a text is read.
 */
import type { IdRange } from '../math/vectors.ts';
import { orWithoutMemory } from './index-failure.ts';
import type { NeighborRow } from './interpolate.ts';
import {
  follow,
  joinPointed,
  NO_POINTERS,
  type Pointed,
  placesAmong,
  type TracedRow,
  timesFound,
} from './pointers.ts';
import { neighborRow, type Retrieved, type RetrievedRow, type Retriever } from './retriever.ts';
import { SkipPredictor } from './skip.ts';
import type { ResolvedSettings } from './types.ts';
import type { Recollection } from './weigh.ts';

/** A run of positions that are read one after another. Shapes: d key width. */
export class Lane {
  /** Entries that this lane must not retrieve, beside those of all lanes: sorted, disjoint ranges. */
  readonly exclude: readonly IdRange[];
  pointed: Pointed = NO_POINTERS;
  /** Squared L2 of the nearest neighbor that the last search of this lane found. */
  lastNearest: number | undefined;

  constructor(exclude: readonly IdRange[] = []) {
    this.exclude = exclude;
  }
}

/** One position of a lane, before its token is known. */
export interface Recall {
  lane: Lane;
  /** (d) */
  query: Float32Array;
  /** The model's largest log-probability. */
  best?: number;
  cached?: NeighborRow;
  /** What a search has found already, or why it could not; otherwise it is decided here whether to search. */
  found?: RetrievedRow | { failed: string };
}

export interface RecallerOptions {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
  /** Search even where it cannot count: the neighbors are what is wanted. */
  alwaysSearch?: boolean;
  signal?: AbortSignal;
}

const NO_VALUES = new Uint32Array(0);

const EMPTY: RetrievedRow = {
  ids: new Int32Array(0),
  distances: new Float32Array(0),
  values: new Uint32Array(0),
};

/** A recall with what is pointed at, and what is known of that. Shapes: m pointers. */
interface Pending {
  recall: Recall;
  /** (m) token ids that followed. */
  values: Uint32Array;
  searched: boolean;
  found: RetrievedRow;
  failed?: string;
}

/** As RetoMaton counts: an entry once for every search that found it. */
const votesLeft = ({ histories }: Pointed): number =>
  histories.reduce((sum, history) => sum + timesFound(history), 0);

/** Of pointers those that a search did not find. @param places of each among the neighbors */
function missingOf(places: Int32Array): number[] {
  const missing: number[] = [];
  for (let i = 0; i < places.length; i++) if (places[i]! < 0) missing.push(i);
  return missing;
}

function outcome(found: Recall['found']): Pick<Pending, 'searched' | 'found' | 'failed'> {
  if (!found) return { searched: false, found: EMPTY };
  if ('failed' in found) return { searched: false, found: EMPTY, failed: found.failed };
  return { searched: true, found };
}

export class Recaller {
  readonly #retriever: Retriever;
  readonly #options: RecallerOptions;
  readonly #skip: SkipPredictor | undefined;
  /** Positions for which the index was asked, and all. */
  readonly counts = { searched: 0, all: 0 };

  constructor(retriever: Retriever, options: RecallerOptions) {
    this.#retriever = retriever;
    this.#options = options;
    const { skip } = options.settings;
    this.#skip = skip && new SkipPredictor(skip);
  }

  /** Whether the index is asked for every position, so that positions may be searched ahead of their time. */
  get searchesAll(): boolean {
    const { minPointers } = this.#options.settings;
    return this.needsIndex && !this.#skip && minPointers === undefined;
  }

  /** False when the neighbors cannot count. */
  get needsIndex(): boolean {
    const { settings, alwaysSearch = false } = this.#options;
    return settings.gate !== undefined || settings.lambda > 0 || alwaysSearch;
  }

  /** Asks the index. @param queries (q, d) @param lanes (q) */
  search(queries: Float32Array, lanes: readonly Lane[]): Promise<Retrieved | { failed: string }> {
    const { settings, exclude, signal } = this.#options;
    const own = lanes.map((lane) => lane.exclude);
    return orWithoutMemory(settings, () =>
      this.#retriever.retrieve(queries, {
        k: settings.k,
        within: settings.lambdas?.map(({ range }) => range),
        effort: settings.effort,
        exclude,
        ...(own.some((ranges) => ranges.length > 0) && { excludePerQuery: own }),
        signal,
      }),
    );
  }

  /** @returns one for each, in their order */
  async recall(recalls: readonly Recall[]): Promise<Recollection[]> {
    const pending = await this.#follow(recalls);
    await this.#searchSome(pending);
    const rows = await this.#join(pending);
    return pending.map(({ recall, searched, found, failed }, i) => {
      this.counts.all++;
      if (searched) this.counts.searched++;
      return {
        row: rows[i]!,
        cached: recall.cached,
        best: recall.best,
        searched,
        found,
        ...(failed !== undefined && { failed }),
      };
    });
  }

  /** Once the token has come. */
  observe({ lane }: Recall, { row, searched }: Recollection, token: number): void {
    if (searched) lane.lastNearest = row.distances[0];
    if (!this.#options.settings.pointers) return;
    const { documents } = this.#retriever.datastore;
    const isLeftOut = (entry: number): boolean =>
      lane.exclude.some(([start, end]) => entry >= start && entry < end);
    lane.pointed = follow(
      row,
      token,
      (entry) => documents.continues(entry) && !isLeftOut(entry + 1),
    );
  }

  async #follow(recalls: readonly Recall[]): Promise<Pending[]> {
    const count = recalls.reduce((sum, { lane }) => sum + lane.pointed.ids.length, 0);
    const ids = new Int32Array(count);
    let at = 0;
    for (const { lane } of recalls) {
      ids.set(lane.pointed.ids, at);
      at += lane.pointed.ids.length;
    }
    const values = count > 0 ? await this.#retriever.datastore.values(ids) : NO_VALUES;
    at = 0;
    return recalls.map((recall) => {
      const start = at;
      at += recall.lane.pointed.ids.length;
      return {
        recall,
        values: values.subarray(start, at),
        ...outcome(recall.found),
      };
    });
  }

  /** Of those that were not searched yet the ones that are worth it, in one batch. */
  async #searchSome(pending: readonly Pending[]): Promise<void> {
    const wanted = pending.filter(
      ({ recall, values }) => !recall.found && this.#isWorthIt(recall, values),
    );
    if (wanted.length === 0) return;
    const d = wanted[0]!.recall.query.length;
    const queries = new Float32Array(wanted.length * d);
    for (const [i, { recall }] of wanted.entries()) queries.set(recall.query, i * d);
    const found = await this.search(
      queries,
      wanted.map(({ recall }) => recall.lane),
    );
    for (const [i, one] of wanted.entries())
      Object.assign(one, outcome('failed' in found ? found : neighborRow(found, i)));
  }

  #isWorthIt(recall: Recall, values: Uint32Array): boolean {
    if (!this.needsIndex) return false;
    const { minPointers } = this.#options.settings;
    if (minPointers !== undefined) return votesLeft(recall.lane.pointed) < minPointers;
    return !this.#skip || this.#skip.isWorthIt(recall, values);
  }

  /** Distances of what is pointed at and was not found are measured, all together. */
  async #join(pending: readonly Pending[]): Promise<TracedRow[]> {
    const places = pending.map(({ recall: { lane }, found }) => placesAmong(found, lane.pointed));
    const missing = places.map(missingOf);
    const measured = await this.#measure(pending, missing);
    let at = 0;
    return pending.map(({ recall: { lane }, found, values }, p) => {
      const distances = new Float32Array(lane.pointed.ids.length);
      for (const i of missing[p]!) distances[i] = measured[at++]!;
      return joinPointed(found, { ...lane.pointed, places: places[p]!, distances, values });
    });
  }

  async #measure(
    pending: readonly Pending[],
    missing: readonly (readonly number[])[],
  ): Promise<Float32Array> {
    const asked = pending.filter((_, p) => missing[p]!.length > 0);
    if (asked.length === 0) return new Float32Array(0);
    const d = asked[0]!.recall.query.length;
    const queries = new Float32Array(asked.length * d);
    for (const [i, { recall }] of asked.entries()) queries.set(recall.query, i * d);
    const own = missing.filter((places) => places.length > 0);
    const counts = new Uint32Array(own.length);
    const ids = new Uint32Array(own.reduce((sum, places) => sum + places.length, 0));
    let at = 0;
    for (const [i, { recall }] of asked.entries()) {
      counts[i] = own[i]!.length;
      for (const place of own[i]!) ids[at++] = recall.lane.pointed.ids[place]!;
    }
    return await this.#retriever.distances(queries, { counts, ids });
  }
}
