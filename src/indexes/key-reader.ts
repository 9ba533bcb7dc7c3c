/** Reads rows of stored keys by position. Synchronous: used in worker threads only. */
import { closeSync, openSync, readSync } from 'node:fs';
import { ioError, KnnLMError } from '../errors.ts';
import type { KeySource } from '../math/vectors.ts';
import { bytesPerKey } from './chunk.ts';

export class KeyReader {
  readonly #sources: readonly KeySource[];
  readonly #dim: number;
  /** Entry id of each source's first row, and n at the end. */
  readonly #starts: number[] = [0];
  readonly #files = new Map<string, number>();

  constructor(sources: readonly KeySource[], dim: number) {
    this.#sources = sources;
    this.#dim = dim;
    for (const { count } of sources) this.#starts.push(this.#starts.at(-1)! + count);
  }

  /** Opens every file now, so that files replaced later are still read as they were. */
  open(): void {
    for (const { path } of this.#sources) this.#file(path);
  }

  /** Fills `target` with the rows from `first` on; its length says how many. */
  read(target: Uint8Array, first: number): void {
    let row = first;
    let done = 0;
    while (done < target.length) {
      const s = this.#sourceOf(row);
      const { path, dtype, byteOffset } = this.#sources[s]!;
      const rowBytes = bytesPerKey(dtype, this.#dim);
      const available = (this.#starts[s + 1]! - row) * rowBytes;
      const length = Math.min(target.length - done, available);
      const position = byteOffset + (row - this.#starts[s]!) * rowBytes;
      this.#readFully(path, target.subarray(done, done + length), position);
      done += length;
      row += length / rowBytes;
    }
  }

  close(): void {
    for (const file of this.#files.values()) closeSync(file);
    this.#files.clear();
  }

  #readFully(path: string, target: Uint8Array, position: number): void {
    const file = this.#file(path);
    for (let done = 0; done < target.length; ) {
      let got: number;
      try {
        got = readSync(file, target, done, target.length - done, position + done);
      } catch (cause) {
        throw ioError('read', path, cause);
      }
      if (got === 0) {
        throw new KnnLMError(
          'STORE_CORRUPT',
          `Key file ${path} ends at byte ${position + done}, but keys should reach byte ${position + target.length}. Restore the file or build the datastore again.`,
        );
      }
      done += got;
    }
  }

  #file(path: string): number {
    let file = this.#files.get(path);
    if (file === undefined) {
      try {
        file = openSync(path, 'r');
      } catch (cause) {
        throw ioError('open', path, cause);
      }
      this.#files.set(path, file);
    }
    return file;
  }

  /** The source that holds entry `id`: the last one starting at or before it. */
  #sourceOf(id: number): number {
    let low = 0;
    let high = this.#sources.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= id) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
