/**
 * Exact distances of some entries, whose keys are read from their files. Many queries want keys from all over the files: then
 * the files are gone through once, from start to end, for all of them.
 */
import { KnnLMError } from '../../errors.ts';
import type { KeySource } from '../../math/vectors.ts';
import { bytesPerKey } from '../chunk.ts';
import { KeyReader } from '../key-reader.ts';
import {
  BATCH_QUERIES,
  CONTROL,
  type MeasureTask,
  type RankedPlaces,
  type RankedRows,
  type RankTask,
  type RerankTask,
} from './ivf-task.ts';
import type { KernelMemory, Layout } from './list-kernels.ts';

/** Keys compared in one go. */
const MOST_ROWS = 256;
/** Reading a gap of this many rows is cheaper than a second read. */
const GAP_ROWS = 8;
/** The same where files are gone through from start to end. */
const BATCH_GAP_ROWS = 64;
/** Rows of keys that there is room for. */
const ROOM_ROWS = MOST_ROWS * (GAP_ROWS + 1);

export type RerankLayout = ReturnType<typeof rerankLayout>;

export function rerankLayout(layout: Layout, dim: number, rowBytes: number) {
  return {
    query64: layout.take(dim * 8),
    rows: layout.take(MOST_ROWS * 4),
    out: layout.take(MOST_ROWS * 4),
    keys: layout.take(ROOM_ROWS * rowBytes + 16),
  };
}

export class Reranker {
  readonly #memory: KernelMemory;
  readonly #at: RerankLayout;
  readonly #dim: number;
  readonly #isHalf: boolean;
  readonly #rowBytes: number;
  readonly #reader: KeyReader;

  constructor(memory: KernelMemory, at: RerankLayout, sources: readonly KeySource[], dim: number) {
    this.#memory = memory;
    this.#at = at;
    this.#dim = dim;
    this.#isHalf = sources[0]!.dtype === 'fp16';
    this.#rowBytes = bytesPerKey(sources[0]!.dtype, dim);
    this.#reader = new KeyReader(sources, dim);
    this.#reader.open();
  }

  /** Each query's entries, nearest first. */
  run(task: Omit<RerankTask, 'kind'>): RankedRows {
    const { counts } = task;
    const ids = task.ids.slice();
    const eachQuery = (use: (start: number, end: number) => void): void => {
      let start = 0;
      for (const count of counts) {
        use(start, start + count);
        start += count;
      }
    };
    eachQuery((start, end) => ids.subarray(start, end).sort());
    const distances = this.measure({ ...task, ids }, task.control);
    const bits = new Uint32Array(distances.buffer);
    const pairs = new BigUint64Array(ids.length);
    const words = new Uint32Array(pairs.buffer);
    for (let i = 0; i < ids.length; i++) {
      words[2 * i] = ids[i]!;
      words[2 * i + 1] = bits[i]!;
    }
    eachQuery((start, end) => pairs.subarray(start, end).sort());
    return { counts, pairs: words };
  }

  /** The same by their places in the task, for who has more of each entry than its id. */
  rank(task: Omit<RankTask, 'kind'>): RankedPlaces {
    const { counts } = task;
    const byId = ascending(task.ids, counts);
    const ids = byId.map((place) => task.ids[place]!);
    const distances = this.measure({ ...task, ids }, task.control);
    // As bits: distances are not negative.
    const nearest = ascending(new Uint32Array(distances.buffer), counts);
    return {
      places: nearest.map((place) => byId[place]!),
      distances: Float32Array.from(nearest, (place) => distances[place]!),
    };
  }

  /** Distances of entries that ascend within each query, in their order. */
  measure(task: Omit<MeasureTask, 'kind'>, control?: Int32Array): Float32Array {
    if (task.counts.length >= BATCH_QUERIES) return this.#measureBatch(task, control);
    const { queries, counts, ids } = task;
    const distances = new Float32Array(ids.length);
    let start = 0;
    for (const [q, count] of counts.entries()) {
      this.#setQuery(queries, q);
      for (const end = start + count; start < end; ) {
        const part = ids.subarray(start, Math.min(end, start + MOST_ROWS));
        this.#readRows(part);
        distances.set(this.#compare(part.length), start);
        start += part.length;
        goOn(part.length, control);
      }
    }
    return distances;
  }

  /** In ascending order of the entries, whoever wants them. */
  #measureBatch(
    { queries, counts, ids }: Omit<MeasureTask, 'kind'>,
    control?: Int32Array,
  ): Float32Array {
    const distances = new Float32Array(ids.length);
    const queryOf = new Uint32Array(ids.length);
    let start = 0;
    for (const [q, count] of counts.entries()) {
      queryOf.fill(q, start, start + count);
      start += count;
    }
    const places = ascending(ids, [ids.length]);
    for (let from = 0; from < places.length; ) {
      const to = this.#readStretch(ids, places, from);
      const first = ids[places[from]!]!;
      // A query's places follow each other.
      const here = places.subarray(from, to).sort();
      for (let i = 0; i < here.length; ) {
        const q = queryOf[here[i]!]!;
        let rows = 0;
        for (; rows < MOST_ROWS && i + rows < here.length; rows++) {
          const place = here[i + rows]!;
          if (queryOf[place] !== q) break;
          this.#memory.u32[this.#at.rows / 4 + rows] = ids[place]! - first;
        }
        this.#setQuery(queries, q);
        for (const distance of this.#compare(rows)) distances[here[i++]!] = distance;
      }
      from = to;
      goOn(here.length, control);
    }
    return distances;
  }

  /** Reads the keys from one wanted entry to the last wanted one that is near enough. @returns where to go on */
  #readStretch(ids: Uint32Array, places: Uint32Array, from: number): number {
    const first = ids[places[from]!]!;
    let last = first;
    let to = from;
    for (; to < places.length; to++) {
      const id = ids[places[to]!]!;
      if (id - last > BATCH_GAP_ROWS || id - first >= ROOM_ROWS) break;
      last = id;
    }
    this.#read(0, first, last - first + 1);
    return to;
  }

  /** Reads the keys of some entries, in ascending order, near ones in one go. */
  #readRows(entries: Uint32Array): void {
    const { u32 } = this.#memory;
    let slots = 0;
    for (let i = 0; i < entries.length; ) {
      const first = entries[i]!;
      let last = first;
      for (; i < entries.length && entries[i]! - last <= GAP_ROWS; i++) {
        last = entries[i]!;
        u32[this.#at.rows / 4 + i] = slots + last - first;
      }
      this.#read(slots, first, last - first + 1);
      slots += last - first + 1;
    }
  }

  #read(slot: number, first: number, rows: number): void {
    const start = this.#at.keys + slot * this.#rowBytes;
    this.#reader.read(this.#memory.u8.subarray(start, start + rows * this.#rowBytes), first);
  }

  #setQuery(queries: Float32Array, q: number): void {
    const dim = this.#dim;
    this.#memory.f64.set(queries.subarray(q * dim, (q + 1) * dim), this.#at.query64 / 8);
  }

  /** Distances of the keys whose slots are noted, in their order; good until the next call. */
  #compare(count: number): Float32Array {
    const { kernels, f32 } = this.#memory;
    const { keys, rows, query64, out } = this.#at;
    kernels.distances(keys, this.#dim, this.#isHalf, rows, count, query64, out);
    return f32.subarray(out / 4, out / 4 + count);
  }
}

/** Places of the numbers, those of each query from its lowest on; of equal ones in their order. */
function ascending(numbers: Uint32Array, counts: Iterable<number>): Uint32Array {
  const order = new BigUint64Array(numbers.length);
  const words = new Uint32Array(order.buffer);
  for (let place = 0; place < numbers.length; place++) {
    words[2 * place] = place;
    words[2 * place + 1] = numbers[place]!;
  }
  let start = 0;
  for (const count of counts) order.subarray(start, (start += count)).sort();
  return Uint32Array.from(numbers, (_, i) => words[2 * i]!);
}

/** Errors: `ABORTED` when the search was stopped. */
function goOn(compared: number, control: Int32Array | undefined): void {
  if (!control) return;
  Atomics.add(control, CONTROL.compared, compared);
  if (Atomics.load(control, CONTROL.cancel) === 0) return;
  throw new KnnLMError('ABORTED', 'The search was stopped.');
}
