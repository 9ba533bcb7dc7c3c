/** A worker's view of a chunk: kernels over its memory, typed arrays, its scratch room, and the keys wherever they are. */
import { type Chunk, type ChunkLayout, LISTED_ROWS, type Scratch } from './chunk.ts';
import { type KernelModules, type SharedKernels, sharedKernels } from './kernels.ts';
import type { KeyReader } from './key-reader.ts';

/** Reading a gap of this many rows is cheaper than a second read. */
const GAP_ROWS = 8;

export class ChunkView {
  readonly layout: ChunkLayout;
  readonly scratch: Scratch;
  readonly kernels: SharedKernels;
  readonly sample: Uint32Array;
  /** Entry id of row 0. */
  readonly first: number;
  readonly u8: Uint8Array;
  readonly i16: Int16Array;
  readonly u32: Uint32Array;
  readonly f32: Float32Array;
  readonly f64: Float64Array;
  readonly #reader: KeyReader;

  constructor(chunk: Chunk, modules: KernelModules, worker: number, reader: KeyReader) {
    const { buffer } = chunk.memory;
    this.layout = chunk.layout;
    this.scratch = chunk.layout.scratch[worker]!;
    this.sample = chunk.sample;
    this.first = chunk.first;
    this.kernels = sharedKernels(modules, chunk.memory);
    this.u8 = new Uint8Array(buffer);
    this.i16 = new Int16Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.#reader = reader;
  }

  /** Reads rows from the files to `address`. */
  readRows(address: number, row: number, count: number): void {
    const bytes = this.u8.subarray(address, address + count * this.layout.rowBytes);
    this.#reader.read(bytes, this.first + row);
  }

  /**
   * Exact squared distances of the query at `scratch.query64` to some rows.
   * @param rows ascending row numbers
   * @param each told each row and the bits of its distance as f32, which order like the distance
   */
  distances(rows: Uint32Array, each: (row: number, bits: number) => void): void {
    const { layout, scratch, kernels, u32 } = this;
    const ids = scratch.ids / 4;
    const values = scratch.values / 4;
    for (let done = 0; done < rows.length; ) {
      let count = Math.min(LISTED_ROWS, rows.length - done);
      let keys = layout.keys;
      if (keys === 0) {
        keys = scratch.read;
        count = this.#gather(rows, done, count);
      } else u32.set(rows.subarray(done, done + count), ids);
      kernels.distances(
        keys,
        layout.dim,
        layout.isHalf,
        scratch.ids,
        count,
        scratch.query64,
        scratch.values,
      );
      for (let i = 0; i < count; i++) each(rows[done + i]!, u32[values + i]!);
      done += count;
    }
  }

  /** Reads up to `most` of the rows from `start` on side by side, near ones in one go; returns how many fitted. */
  #gather(rows: Uint32Array, start: number, most: number): number {
    const { layout, scratch } = this;
    let slots = 0;
    let i = 0;
    while (i < most && slots < layout.readRows) {
      const first = rows[start + i]!;
      const room = layout.readRows - slots;
      let last = first;
      do {
        this.u32[scratch.ids / 4 + i] = slots + rows[start + i]! - first;
        last = rows[start + i]!;
        i++;
      } while (i < most && rows[start + i]! - last <= GAP_ROWS && rows[start + i]! - first < room);
      this.readRows(scratch.read + slots * layout.rowBytes, first, last - first + 1);
      slots += last - first + 1;
    }
    return i;
  }
}
