/**
 * Exact search over a few thousand keys that come one after another, such as the states of a text while it is read. Keys
 * lie in a memory of their own beside the kernel that compares them, so a search is one call on the calling thread: 0.1 ms
 * for 2,000 keys of width 256.
 */
import { readFile } from 'node:fs/promises';
import { instantiate } from './kernels.ts';

/** Neighbors of one query, nearest first; of equal distances the older key first. */
export interface Nearest {
  /** Row numbers. */
  rows: number[];
  /** Squared L2. */
  distances: Float32Array;
}

interface Kernels {
  rowDistances(query: number, rows: number, count: number, width: number, out: number): void;
}

const PAGE = 65_536;
const FIRST_ROWS = 256;

let compiled: Promise<WebAssembly.Module> | undefined;

/** Of texts that have ended, for those that begin: WebAssembly's memory is given back by the collector alone, late, and its size calls for it. */
const spare: GrowingIndex[] = [];
const MOST_SPARE = 64;
/** What held a longer text is given back. */
const MOST_SPARE_ROWS = 1024;

export class GrowingIndex {
  /** d */
  readonly dim: number;
  readonly #memory: WebAssembly.Memory;
  readonly #kernels: Kernels;
  /** d, rounded up to a multiple of 8. */
  readonly #width: number;
  #size = 0;
  #room = FIRST_ROWS;

  private constructor(dim: number, module: WebAssembly.Module) {
    this.dim = dim;
    this.#width = Math.ceil(dim / 8) * 8;
    this.#memory = new WebAssembly.Memory({ initial: this.#pages(), maximum: PAGE });
    this.#kernels = instantiate(module, this.#memory) as Kernels;
  }

  static async open(dim: number): Promise<GrowingIndex> {
    const known = spare.findIndex((index) => index.dim === dim);
    if (known >= 0) return spare.splice(known, 1)[0]!;
    const url = new URL('./kernels/rows.private.wasm', import.meta.url);
    compiled ??= readFile(url).then((bytes) => WebAssembly.compile(bytes));
    return new GrowingIndex(dim, await compiled);
  }

  /** Its memory may serve another from here on: nothing must be asked of it any more. */
  close(): void {
    if (spare.includes(this)) return;
    this.#size = 0;
    if (this.#room <= MOST_SPARE_ROWS && spare.length < MOST_SPARE) spare.push(this);
  }

  /** Keys held. */
  get size(): number {
    return this.#size;
  }

  /** @param key (d), copied; its row number is the size before */
  add(key: ArrayLike<number>): void {
    if (this.#size === this.#room) this.#grow();
    const at = this.#rowsAt / 4 + this.#size * this.#width;
    const floats = new Float32Array(this.#memory.buffer);
    floats.set(key, at);
    // Distances may have lain here before there was room for more keys.
    floats.fill(0, at + this.dim, at + this.#width);
    this.#size++;
  }

  /** Forgets the oldest keys; the row numbers of the others fall by so many. */
  drop(count: number): void {
    const floats = new Float32Array(this.#memory.buffer);
    const at = this.#rowsAt / 4;
    const end = at + this.#size * this.#width;
    floats.copyWithin(at, at + count * this.#width, end);
    this.#size -= count;
  }

  /**
   * @param query (d)
   * @param rows [start, end) to search, within those held
   * @param k neighbors at most
   */
  nearest(query: ArrayLike<number>, [start, end]: readonly [number, number], k: number): Nearest {
    const count = end - start;
    if (count <= 0) return { rows: [], distances: new Float32Array(0) };
    const floats = new Float32Array(this.#memory.buffer);
    floats.set(query, PAGE / 4);
    const first = this.#rowsAt + start * this.#width * 4;
    this.#kernels.rowDistances(PAGE, first, count, this.#width, this.#outAt);
    const out = floats.subarray(this.#outAt / 4, this.#outAt / 4 + count);
    const rows = smallest(out, k);
    const distances = new Float32Array(rows.length);
    for (let i = 0; i < rows.length; i++) {
      distances[i] = out[rows[i]!]!;
      rows[i]! += start;
    }
    return { rows, distances };
  }

  /** Room is doubled; the distances lie behind the keys. */
  #grow(): void {
    this.#room *= 2;
    this.#memory.grow(this.#pages() - this.#memory.buffer.byteLength / PAGE);
  }

  /** The first page is the module's, the query comes next, then the keys. */
  get #rowsAt(): number {
    return PAGE + this.#width * 4;
  }

  get #outAt(): number {
    return this.#rowsAt + this.#room * this.#width * 4;
  }

  #pages(): number {
    return Math.ceil((this.#outAt + this.#room * 4) / PAGE);
  }
}

/** Places of the k smallest, ascending; of equal ones the first. */
function smallest(values: Float32Array, k: number): number[] {
  const kept: number[] = [];
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (kept.length < k) kept.push(i);
    else if (!(value < values[kept[k - 1]!]!)) continue;
    let at = kept.length - 1;
    for (; at > 0 && values[kept[at - 1]!]! > value; at--) kept[at] = kept[at - 1]!;
    kept[at] = i;
  }
  return kept;
}
