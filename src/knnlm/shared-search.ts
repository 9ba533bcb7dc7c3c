/**
 * Single queries of many requests as batches: those that wait while others are searched go together, which costs less than one by one.
 * A query that finds nothing under way is searched at once. Only queries that want the same k and effort, and leave out the same entries, share a
 * search, so each gets what it would get alone.
 */
import { KnnLMError } from '../errors.ts';
import { turns } from '../math/turns.ts';
import type { IdRange } from '../math/vectors.ts';
import type { Retrieved, RetrieveOptions } from './retriever.ts';

/** What one request asks for. */
export type SingleOptions = Omit<RetrieveOptions, 'excludePerQuery'>;

export type Search = (queries: Float32Array, options: SingleOptions) => Promise<Retrieved>;

interface Waiting {
  /** (d) */
  query: Float32Array;
  options: SingleOptions;
  resolve: (found: Retrieved) => void;
  reject: (error: unknown) => void;
}

/** Searches under way. Of two each would have half as many queries, and in a batch of 16 a query takes half the processor time of a lone one. */
const UNDER_WAY = 1;
/** Most queries of a search: their neighbors are delivered together. */
const MOST_QUERIES = 32;

export class SharedSearch {
  readonly #search: Search;
  /** By what a search of theirs would have in common, in order of arrival. */
  readonly #waiting = new Map<string, Waiting[]>();
  #underWay = 0;
  #scheduled = false;

  constructor(search: Search) {
    this.#search = search;
  }

  /** @param query (d) @returns one row. Errors: those of the search, `ABORTED`. */
  find(query: Float32Array, options: SingleOptions): Promise<Retrieved> {
    const kind = kindOf(options);
    return new Promise((resolve, reject) => {
      const waiting = { query, options, resolve, reject };
      const others = this.#waiting.get(kind);
      if (others) others.push(waiting);
      else this.#waiting.set(kind, [waiting]);
      this.#schedule();
    });
  }

  /** Whoever asks in the same turn of the event loop, as the texts of a decoding step do, is searched together. */
  #schedule(): void {
    if (this.#scheduled || this.#underWay >= UNDER_WAY) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#start();
    });
  }

  #start(): void {
    while (this.#underWay < UNDER_WAY) {
      const [kind, waiting] = this.#waiting.entries().next().value ?? [];
      if (kind === undefined || waiting === undefined) return;
      const batch = waiting.splice(0, MOST_QUERIES);
      // Other kinds come first the next time.
      this.#waiting.delete(kind);
      if (waiting.length > 0) this.#waiting.set(kind, waiting);
      this.#underWay++;
      void this.#run(batch.filter(isWanted)).finally(() => {
        this.#underWay--;
        this.#start();
      });
    }
  }

  async #run(batch: Waiting[]): Promise<void> {
    if (batch.length <= 1) {
      for (const one of batch) await this.#runAlone(one);
      return;
    }
    const [{ query, options }] = batch as [Waiting];
    const d = query.length;
    const queries = new Float32Array(batch.length * d);
    for (const [i, one] of batch.entries()) queries.set(one.query, i * d);
    let found: Retrieved;
    try {
      // Who is aborted meanwhile does not stop the others.
      found = await this.#search(queries, { ...options, signal: undefined });
    } catch {
      // What is wrong with one is none of the others' business.
      await Promise.all(batch.map((one) => this.#runAlone(one)));
      return;
    }
    void answer(batch, found);
  }

  async #runAlone({ query, options, resolve, reject }: Waiting): Promise<void> {
    await this.#search(query, options).then(resolve, reject);
  }
}

/** Whoever was aborted is told so. */
function isWanted({ options, reject }: Waiting): boolean {
  if (!options.signal?.aborted) return true;
  reject(new KnnLMError('ABORTED', 'The search was stopped.'));
  return false;
}

/** Gives each its row; their requests go on with work of their own. */
async function answer(batch: readonly Waiting[], found: Retrieved): Promise<void> {
  const { k, ids, distances, values } = found;
  for (const [i, one] of batch.entries()) {
    await turns.take();
    const [start, end] = [i * k, (i + 1) * k];
    if (isWanted(one)) {
      one.resolve({
        ...found,
        ids: ids.subarray(start, end),
        distances: distances.subarray(start, end),
        values: values.subarray(start, end),
      });
    }
  }
}

/** Equal for queries that may share a search. */
function kindOf({ k, effort = 1, exclude, within }: SingleOptions): string {
  return `${k} ${effort} ${exclude ? rangesText(exclude) : ''} ${within ? JSON.stringify(within) : ''}`;
}

/** A request names the same ranges with every token. */
const known = new WeakMap<readonly IdRange[], string>();

function rangesText(ranges: readonly IdRange[]): string {
  let text = known.get(ranges);
  if (text === undefined) {
    text = ranges.join(' ');
    known.set(ranges, text);
  }
  return text;
}
