/**
 * Which lists queries read: those whose centroid's squared distance plus a share of the list's spread (the mean squared distance
 * of its rows from the centroid) is least. The two together are the mean distance of its rows.
 */
import { BLOCK_ROWS } from './ivf-task.ts';
import { roundUp } from './lists-file.ts';
import {
  MOST_LANES,
  type Room,
  type RowScanner,
  type RowScannerOptions,
  sortPairs,
} from './row-scanner.ts';

/** The queries that want a list, and the squared distances of its centroid from each. */
export interface Wanted {
  /** The least place that it has among the lists of one of them. */
  rank: number;
  queries: number[];
  centerDistances: number[];
}

/** Among this many times the wanted number the nearest are looked for, so that farther ones need not be kept. */
const LOOK_AFTER = 4;

export class ListChoice {
  readonly #o: RowScannerOptions;
  readonly #scanner: RowScanner;
  /** (L) */
  readonly #spreads: Float32Array;
  #weight = Number.NaN;

  constructor(options: RowScannerOptions, scanner: RowScanner) {
    this.#o = options;
    this.#scanner = scanner;
    const { memory, at, table } = options;
    const { scales, biases, codes, rows, spreads, lists } = table.layout;
    memory.u8.set(table.bytes.subarray(scales, biases), at.table.scales);
    memory.u8.set(table.bytes.subarray(codes, rows), at.table.codes);
    for (let l = 0; l < lists; l++) memory.u32[at.table.ids / 4 + l] = l;
    this.#spreads = new Float32Array(table.bytes.buffer, spreads, roundUp(lists, 4));
  }

  /**
   * The lists of the scanner's queries, one's nearest first.
   * @param has whether a list counts: the others are another worker's
   */
  async choose(
    probes: number,
    spreadWeight: number,
    has: (list: number) => boolean,
  ): Promise<Map<number, Wanted>> {
    this.#setWeight(spreadWeight);
    const { u32, f32 } = this.#o.memory;
    const wanted = new Map<number, Wanted>();
    for (let first = 0; first < this.#scanner.codes.length; first += MOST_LANES) {
      const queries = this.#scanner.codes.slice(first, first + MOST_LANES).map((_, i) => first + i);
      const room = await this.#nearest(queries, probes);
      for (const [slot, query] of queries.entries()) {
        const at = (room.pairs + slot * room.capacity * 8) / 4;
        const count = Math.min(probes, u32[room.counts / 4 + slot]!);
        for (let rank = 0; rank < count; rank++) {
          const list = u32[at + 2 * rank]!;
          if (!has(list)) continue;
          let one = wanted.get(list);
          if (!one) wanted.set(list, (one = { rank, queries: [], centerDistances: [] }));
          one.rank = Math.min(one.rank, rank);
          one.queries.push(query);
          const distance = f32[at + 2 * rank + 1]! - this.#weight * this.#spreads[list]!;
          one.centerDistances.push(Math.max(0, distance));
        }
      }
    }
    return wanted;
  }

  /** Pairs of each query's nearest lists, sorted. */
  async #nearest(queries: number[], probes: number): Promise<Room> {
    const { memory, at } = this.#o;
    const { kernels, u32 } = memory;
    const lists = at.table.count;
    const room: Room = { pairs: at.pairs, capacity: lists, counts: at.counts };
    u32.fill(0, room.counts / 4, room.counts / 4 + queries.length);
    this.#scanner.resetLimits();
    for (let row = 0; row < lists; row += BLOCK_ROWS) {
      const rows = this.#scanner.block({ ...at.table, count: lists }, row);
      await this.#scanner.scan(rows, queries, room, queries[0]!);
      const isEnd = row + BLOCK_ROWS >= lists;
      for (const [slot, query] of queries.entries()) {
        const pairs = room.pairs + slot * lists * 8;
        const count = u32[room.counts / 4 + slot]!;
        if (count <= (isEnd ? probes : LOOK_AFTER * probes)) continue;
        this.#scanner.limits[query] = kernels.keepNearest(pairs, count, probes);
        u32[room.counts / 4 + slot] = probes;
      }
    }
    for (const slot of queries.keys())
      sortPairs(this.#o, room.pairs + slot * lists * 8, u32[room.counts / 4 + slot]!);
    return room;
  }

  /** A list's spread is of no query: it goes into the bias of its centroid. */
  #setWeight(weight: number): void {
    if (weight === this.#weight) return;
    this.#weight = weight;
    const { memory, at, table } = this.#o;
    const { biases, lists } = table.layout;
    const own = new Float32Array(table.bytes.buffer, biases, roundUp(lists, 4));
    memory.f32.set(
      own.map((bias, l) => bias + weight * this.#spreads[l]!),
      at.table.biases / 4,
    );
  }
}
