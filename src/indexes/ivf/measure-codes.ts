/**
 * Distances of entries by their product codes, for an index whose keys were dropped. Where an entry's code lies is looked
 * up in a table of this worker's rows, made on first use: 8 bytes an entry, all workers together.
 */
import { encodeQuery } from '../query-code.ts';
import type { MeasureTask } from './ivf-task.ts';
import type { ListCache } from './list-cache.ts';
import type { KernelMemory } from './list-kernels.ts';
import type { OpenTable } from './open-table.ts';
import { BLOCK } from './product-list.ts';
import type { ProductLists } from './product-lists.ts';
import { RANGE, type SearchLayout } from './row-scanner.ts';

export interface MeasureCodesOptions {
  memory: KernelMemory;
  at: SearchLayout;
  table: OpenTable;
  cache: ListCache;
  productLists: ProductLists;
  /** Lists that this worker has. */
  has: (list: number) => boolean;
}

/** One wanted distance. */
interface Wanted {
  list: number;
  row: number;
  query: number;
  /** Where it goes. */
  place: number;
}

export class MeasureCodes {
  readonly #o: MeasureCodesOptions;
  /** This worker's rows by ascending id: pairs of (row number among all lists' rows, id). */
  #places: Uint32Array | undefined;
  /** (L) number of each list's first row. */
  readonly #firsts: Float64Array;

  constructor(options: MeasureCodesOptions) {
    this.#o = options;
    const { rows } = options.table;
    this.#firsts = new Float64Array(rows.length);
    for (let l = 1; l < rows.length; l++) this.#firsts[l] = this.#firsts[l - 1]! + rows[l - 1]!;
  }

  /** @returns in the order of the ids; +Infinity for those in lists that another worker has */
  run({ queries, counts, ids }: MeasureTask): Float32Array {
    const { table, cache, productLists } = this.#o;
    const { dim } = table.space;
    const distances = new Float32Array(ids.length).fill(Number.POSITIVE_INFINITY);
    const codes = Array.from(counts, (_, q) =>
      encodeQuery(queries.subarray(q * dim, (q + 1) * dim), table.space, RANGE),
    );
    productLists.begin(
      queries,
      codes.map(({ norm }) => norm),
    );
    let entered = -1;
    for (const { list, row, query, place } of this.#wanted(counts, ids)) {
      if (list !== entered) {
        productLists.enter(list, cache.get(list));
        entered = list;
      }
      distances[place] = this.#measure(list, row, query, ids[place]!);
    }
    return distances;
  }

  /** The rows that are here, list by list. */
  #wanted(counts: Uint32Array, ids: Uint32Array): Wanted[] {
    const wanted: Wanted[] = [];
    let place = 0;
    for (const [query, count] of counts.entries()) {
      for (const end = place + count; place < end; place++) {
        const at = this.#find(ids[place]!);
        if (at) wanted.push({ ...at, query, place });
      }
    }
    return wanted.sort((a, b) => a.list - b.list);
  }

  /** In the entered list, whose rows lie in blocks. */
  #measure(list: number, row: number, query: number, id: number): number {
    const { at, memory, productLists, table } = this.#o;
    const first = row - (row % BLOCK);
    const block = { row: first, count: Math.min(BLOCK, table.rows[list]! - first) };
    const found = productLists.collect(block, query, Number.POSITIVE_INFINITY, at.pairs);
    for (let i = 0; i < found; i++) {
      if (memory.u32[at.pairs / 4 + 2 * i] !== id) continue;
      return memory.f32[at.pairs / 4 + 2 * i + 1]! * table.space.unit ** 2;
    }
    throw new Error(`Entry ${id} is not where the table of codes has it.`);
  }

  #find(id: number): { list: number; row: number } | undefined {
    const places = (this.#places ??= this.#readPlaces());
    let low = 0;
    let high = places.length >> 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (places[2 * middle + 1]! < id) low = middle + 1;
      else high = middle;
    }
    if (places[2 * low + 1] !== id) return undefined;
    const row = places[2 * low]!;
    const list = listOf(this.#firsts, row);
    return { list, row: row - this.#firsts[list]! };
  }

  #readPlaces(): Uint32Array {
    const { table, cache, productLists, has } = this.#o;
    const own = Array.from(table.rows.keys()).filter(has);
    const count = own.reduce((sum, list) => sum + table.rows[list]!, 0);
    const places = new BigUint64Array(count);
    const words = new Uint32Array(places.buffer);
    let at = 0;
    for (const list of own) {
      productLists.enter(list, cache.get(list));
      for (const [row, id] of productLists.ids(table.rows[list]!).entries()) {
        words[2 * at] = this.#firsts[list]! + row;
        words[2 * at + 1] = id;
        at++;
      }
    }
    places.sort();
    return words;
  }
}

/** The last list that starts at or before a row and is not empty. */
function listOf(firsts: Float64Array, row: number): number {
  let low = 0;
  let high = firsts.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (firsts[middle]! <= row) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
