/**
 * Search of a datastore's entries on Milvus. Queries go out in bounded requests, several at a time; what comes back may be
 * compared exactly with the datastore's own keys.
 *
 * Removed entries are left out by the request's expression, and once more here: whatever a replica that lags behind
 * answers, nothing of a removed document gets through. Searches can therefore use bounded staleness, which does not wait
 * for the cluster's clock as strong consistency does.
 */
import { KnnLMError } from '../../errors.ts';
import { Breather } from '../../math/breather.ts';
import type { KeySource } from '../../math/vectors.ts';
import { countIds, type FlatRanges, flattenRanges, includesId } from '../id-ranges.ts';
import { KeyRanker } from '../key-ranker.ts';
import { checkFinite, checkSearch } from '../search-chunks.ts';
import type { EntryRows, Neighbors, SearchOptions, VectorIndex } from '../vector-index.ts';
import { measureEntries, rankHits } from './exact-distances.ts';
import { type Hits, NO_HITS, rankByDistance, readHits } from './hits.ts';
import { parseMilvusUrl } from './milvus-address.ts';
import { MilvusCollection, MOST_NEIGHBORS } from './milvus-collection.ts';
import { type MilvusAccess, MilvusConnection } from './milvus-connection.ts';
import { outside, subtract, union } from './milvus-filter.ts';
import type { MilvusHeader, MilvusSettings } from './milvus-header.ts';
import { firstId } from './milvus-partition.ts';

export interface OpenMilvusOptions {
  header: MilvusHeader;
  /** The datastore's keys, for exact distances; none where only the collection has them. */
  sources: readonly KeySource[];
  threads?: number;
  access?: MilvusAccess;
}

/** Settings of one search, instead of the index's own. */
export interface MilvusSearchOptions extends SearchOptions, Partial<MilvusSettings> {}

/** Hits of one request: 1 to 2 MB of answer, unpacked in some 10 ms. */
const HITS_AT_ONCE = 65_536;
/** Of an answer with keys. */
const ANSWER_BYTES = 2 ** 24;
const MOST_QUERIES = 1024;
const REQUESTS_AT_ONCE = 4;
/** Milvus Lite lays out queries × keys × dimensions as float32 when it searches without an index. */
const LITE_BYTES = 2 ** 27;
/**
 * Neighbors that exact search fetches beyond k, so that ties at the last are seen. Where they do not suffice more are fetched by a
 * second request: at k = 32 so do 16 queries in a thousand, 9 with 16 more, which cost each query half as much again.
 */
const spareFor = (k: number): number => 2 + Math.floor(k / 128);
/** Relative error of a distance that a server computes in float32. */
const ROUNDING = 1e-6;
/** After a failure the server is left alone for so long: a text's next tokens need not each wait for it. */
const REST_MS = 1000;
/** Queries with lists of their own, from which on they are first asked together. */
const FEW_GROUPS = 4;

interface Job {
  /** Numbers of queries. */
  rows: number[];
  exclude: FlatRanges;
  limit: number;
  /** The second time: with everything in the expression, and not asked for again. */
  isLast?: boolean;
}

interface Search {
  queries: Float32Array;
  settings: MilvusSettings;
  /** Neighbors fetched per query, k or more. */
  depth: number;
  exclude: FlatRanges;
  own: FlatRanges[] | undefined;
  /** (q) */
  found: Hits[];
  signal: AbortSignal | undefined;
}

/**
 * How a store is searched that has its keys here: k neighbors more or less are read from the disk in a few milliseconds, so
 * their distances are always exact. Where keys would have to be fetched the server's are taken that were measured to suffice.
 */
function settingsFor({ settings }: MilvusHeader, sources: readonly KeySource[]): MilvusSettings {
  const { params, rerank } = settings ?? { params: {}, rerank: 1 };
  return { params, rerank: sources.length > 0 ? Math.max(1, rerank) : rerank };
}

export class MilvusIndex implements VectorIndex {
  readonly kind = 'milvus';
  readonly size: number;
  readonly dim: number;
  readonly memoryBytes = 0;
  readonly header: MilvusHeader;
  /** Used where a search names no others. */
  settings: MilvusSettings;
  readonly #collection: MilvusCollection;
  readonly #sources: readonly KeySource[];
  readonly #threads: number | undefined;
  readonly #removed: FlatRanges;
  #ranker: Promise<KeyRanker> | undefined;
  #checked: Promise<void> | undefined;
  #queriesAtOnce = MOST_QUERIES;
  #resting: { until: number; error: KnnLMError } | undefined;

  /** Nothing is asked of the server before the first search. Errors: `INVALID_ARGUMENT`. */
  constructor({ header, sources, threads, access }: OpenMilvusOptions) {
    this.header = header;
    this.size = header.entries;
    this.dim = header.dim;
    this.settings = settingsFor(header, sources);
    this.#sources = sources;
    this.#threads = threads;
    this.#removed = flattenRanges(header.removed, header.entries);
    this.#collection = new MilvusCollection(
      new MilvusConnection(parseMilvusUrl(header.url), access),
    );
  }

  /** Errors: `INDEX_UNAVAILABLE` when the server is away or the collection is not what was built. */
  async search(queries: Float32Array, options: MilvusSearchOptions): Promise<Neighbors> {
    const q = checkSearch(this, queries, options);
    const { signal } = options;
    const settings: MilvusSettings = {
      params: options.params ?? this.settings.params,
      rerank: options.rerank ?? this.settings.rerank,
    };
    checkFinite(queries);
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'The search was stopped.');
    const { k } = options;
    const wanted = Math.min(k, this.size);
    if (wanted > MOST_NEIGHBORS) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Milvus gives at most ${MOST_NEIGHBORS} neighbors, not ${wanted}. Ask for fewer: --k ${MOST_NEIGHBORS}`,
      );
    }
    const search: Search = {
      queries,
      settings,
      depth: this.#atMost(
        Math.ceil(wanted * Math.max(1, settings.rerank)) + (this.#isExact ? spareFor(wanted) : 0),
      ),
      exclude: flattenRanges(options.exclude ?? [], this.size),
      own: options.excludePerQuery?.map((ranges) => flattenRanges(ranges, this.size)),
      found: Array.from({ length: q }, () => NO_HITS),
      signal,
    };
    const result: Neighbors = {
      k,
      ids: new Int32Array(q * k).fill(-1),
      distances: new Float32Array(q * k).fill(Number.POSITIVE_INFINITY),
      values: new Uint32Array(q * k),
    };
    if (q === 0 || this.size === 0) return result;
    await this.#reach(async () => {
      await this.#check(signal);
      await this.#fetchAll(search);
      if (this.#isExact) await this.#settleTies(search, wanted);
    });
    await this.#deliver(search, result);
    return result;
  }

  /** By the datastore's own keys nothing is asked of the server; without them the entries' keys are fetched. */
  async distances(queries: Float32Array, rows: EntryRows): Promise<Float32Array> {
    if (!this.#fetchesKeys) return await (await this.#openRanker()).measure({ queries, ...rows });
    let out: Float32Array = new Float32Array();
    await this.#reach(async () => {
      await this.#check();
      out = await measureEntries(this.#collection, this.header, queries, rows);
    });
    return out;
  }

  get #fetchesKeys(): boolean {
    return this.#sources.length === 0;
  }

  async close(): Promise<void> {
    await Promise.all([this.#collection.close(), this.#ranker?.then((ranker) => ranker.close())]);
  }

  /** Asks the server, unless it has just failed. */
  async #reach(ask: () => Promise<void>): Promise<void> {
    if (this.#resting && performance.now() < this.#resting.until) throw this.#resting.error;
    this.#resting = undefined;
    try {
      await ask();
    } catch (error) {
      if (error instanceof KnnLMError && error.code === 'INDEX_UNAVAILABLE') {
        this.#checked = undefined;
        this.#resting = { until: performance.now() + REST_MS, error };
      }
      throw error;
    }
  }

  /** Once for a connection: the collection is there, is loaded, and holds what was built. */
  #check(signal?: AbortSignal): Promise<void> {
    this.#checked ??= this.#checkCollection(signal);
    return this.#checked;
  }

  async #checkCollection(signal?: AbortSignal): Promise<void> {
    const { header } = this;
    const collection = this.#collection;
    const { partition, samples, url, dim, dtype } = header;
    const facts = await collection.describe({ signal });
    const wrong = (what: string) =>
      new KnnLMError(
        'INDEX_UNAVAILABLE',
        `${url} ${what}. Send the entries again: knnlm index STORE --index ${url}`,
      );
    if (!facts) throw wrong('is not there any more');
    if (facts.dim !== dim || facts.dtype !== dtype)
      throw wrong(`holds ${facts.dtype} keys of ${facts.dim} dimensions, not ${dtype} of ${dim}`);
    if (!(await collection.partitions({ signal })).includes(partition.name))
      throw wrong(`has no partition ${partition.name}: it was dropped, or the store built anew`);
    await collection.load({ signal });
    const first = firstId(partition);
    const values = await collection.values(
      partition.name,
      samples.map(({ entry }) => first + entry),
    );
    const seen = samples.map(({ entry }) => values.get(first + entry));
    const missing = samples.filter(({ value }, i) => seen[i] !== value);
    // Who has not the folder may not have heard of a removal.
    const isRemoval = this.#fetchesKeys && missing.length < samples.length / 2;
    const hasOthers = samples.some(({ value }, i) => seen[i] !== undefined && seen[i] !== value);
    if (hasOthers || (missing.length > 0 && !isRemoval))
      throw wrong(
        `does not hold what was sent: ${missing.length} of ${samples.length} entries looked up are missing or others`,
      );
    if (this.#isExact && (await collection.isLite()))
      this.#queriesAtOnce = Math.max(1, Math.floor(LITE_BYTES / (this.size * dim * 4)));
  }

  async #fetchAll(search: Search): Promise<void> {
    const { own, exclude, depth } = search;
    const all = Array.from(search.found.keys());
    if (!own) return await this.#fetch(search, [{ rows: all, exclude, limit: depth }]);
    const groups = new Map<string, number[]>();
    for (const row of all) {
      const key = own[row]!.join();
      groups.set(key, [...(groups.get(key) ?? []), row]);
    }
    const apart = [...groups.values()].map((rows) => this.#apart(search, rows));
    if (groups.size <= FEW_GROUPS) return await this.#fetch(search, apart);
    // One expression holds for all queries of a request. Asked together with some to spare, most have enough.
    const limit = this.#atMost(Math.ceil(depth * 1.5));
    await this.#fetch(search, [{ rows: all, exclude, limit }]);
  }

  get #isExact(): boolean {
    return (this.header.index?.type ?? 'FLAT') === 'FLAT';
  }

  #atMost(neighbors: number): number {
    return Math.min(this.size, MOST_NEIGHBORS, neighbors);
  }

  /**
   * Of neighbors at equal distance, repeated text say, a server takes which it likes; here the first entries count. So what
   * lies beyond the k-th is fetched as well, until it is farther away.
   */
  async #settleTies(search: Search, k: number): Promise<void> {
    let { depth } = search;
    for (;;) {
      const open = Array.from(search.found.keys()).filter((row) => {
        const { distances } = search.found[row]!;
        if (distances.length < depth) return false;
        return distances[k - 1]! >= distances.at(-1)! * (1 - ROUNDING);
      });
      if (open.length === 0 || depth === this.#atMost(Number.POSITIVE_INFINITY)) return;
      depth = this.#atMost(2 * depth);
      const { own, exclude } = search;
      const jobs = own
        ? open.map((row) => this.#apart({ ...search, depth }, [row]))
        : [{ rows: open, exclude, limit: depth }];
      await this.#fetch({ ...search, depth }, jobs);
    }
  }

  /** Queries with the same list of their own, asked with it. */
  #apart({ own, exclude, depth }: Search, rows: number[]): Job {
    return { rows, exclude: union(exclude, own![rows[0]!]!), limit: depth };
  }

  /** Makes the requests of the jobs, a few at a time; rows that came back short are asked for once more by themselves. */
  async #fetch(search: Search, jobs: readonly Job[]): Promise<void> {
    const again: Job[] = [];
    const requests = jobs.flatMap((job) => this.#requests(job, search.settings));
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < requests.length) {
        const request = requests[next++]!;
        for (const row of await this.#request(search, request)) {
          const exclude = union(search.exclude, search.own?.[row] ?? new Int32Array(0));
          again.push({ rows: [row], exclude, limit: search.depth, isLast: true });
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(REQUESTS_AT_ONCE, requests.length) }, work));
    if (again.length > 0) await this.#fetch(search, again);
  }

  #requests({ rows, ...job }: Job, { rerank }: MilvusSettings): Job[] {
    const keyBytes = rerank > 0 && this.#fetchesKeys ? 4 * this.dim : 0;
    const most = Math.min(HITS_AT_ONCE, ANSWER_BYTES / keyBytes) / job.limit;
    const size = Math.max(1, Math.min(this.#queriesAtOnce, Math.floor(most)));
    return Array.from({ length: Math.ceil(rows.length / size) }, (_, i) => ({
      ...job,
      rows: rows.slice(i * size, (i + 1) * size),
    }));
  }

  /** @returns rows of which so much had to be left out that too little remains */
  async #request(search: Search, { rows, exclude, limit, isLast }: Job): Promise<number[]> {
    const { queries, settings, depth, found, own, signal } = search;
    const left = this.size - countIds(exclude);
    if (left <= 0) return [];
    const first = firstId(this.header.partition);
    const atMost = Math.min(limit, left);
    const withKeys = settings.rerank > 0 && this.#fetchesKeys;
    const answer = await this.#collection.search(
      {
        partition: this.header.partition.name,
        queries: rows.map((row) => queries.slice(row * this.dim, (row + 1) * this.dim)),
        dtype: this.header.dtype,
        limit: atMost,
        // What is not on the server need not be left out.
        filter: outside(isLast ? exclude : subtract(exclude, this.#removed), first),
        params: this.#paramsFor(settings.params, atMost, left),
        withKeys,
      },
      { signal },
    );
    const short: number[] = [];
    for (const [i, row] of rows.entries()) {
      const mine = own?.[row];
      const isWanted = (entry: number): boolean =>
        entry >= 0 &&
        entry < this.size &&
        !includesId(search.exclude, entry) &&
        !(mine && includesId(mine, entry));
      const query = withKeys ? queries.subarray(row * this.dim, (row + 1) * this.dim) : undefined;
      const hits = readHits(answer[i]!, first, isWanted, query);
      found[row] = hits;
      if (!isLast && hits.ids.length < Math.min(depth, answer[i]!.length)) short.push(row);
    }
    return short;
  }

  /** A graph's search is as wide as the neighbors wanted at least; of fewer entries more lists are read. */
  #paramsFor(params: Record<string, number>, limit: number, left: number): Record<string, number> {
    const { ef, search_list, nprobe } = params;
    const lists = this.header.index?.params.nlist ?? Number.POSITIVE_INFINITY;
    return {
      ...params,
      ...(ef !== undefined && { ef: Math.max(ef, limit) }),
      ...(search_list !== undefined && { search_list: Math.max(search_list, limit) }),
      ...(nprobe !== undefined && {
        nprobe: Math.min(lists, Math.round((nprobe * this.size) / left)),
      }),
    };
  }

  async #deliver({ queries, found, settings, signal }: Search, result: Neighbors): Promise<void> {
    const isRanked = settings.rerank > 0 && !this.#fetchesKeys;
    const ranked =
      isRanked && (await rankHits(await this.#openRanker(), { queries, found, signal }));
    const { k, ids, distances, values } = result;
    const breather = new Breather();
    for (const [row, hits] of found.entries()) {
      const nearest = ranked ? ranked[row]! : rankByDistance(hits);
      const count = Math.min(k, hits.ids.length);
      for (let i = 0; i < count; i++) {
        const place = nearest.places[i]!;
        ids[row * k + i] = hits.ids[place]!;
        distances[row * k + i] = nearest.distances[i]!;
        values![row * k + i] = hits.values[place]!;
      }
      await breather.pause();
    }
  }

  #openRanker(): Promise<KeyRanker> {
    this.#ranker ??= KeyRanker.open(this.#sources, this.dim, this.#threads);
    return this.#ranker;
  }
}
