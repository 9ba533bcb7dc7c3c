/**
 * Lists in memory, read from their file when first wanted. Memory is a ring: a new list takes the place of those that were
 * read longest ago. Lists of any size fit side by side, and what is in memory lies as in the file, ready to be scanned.
 */
import { readSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import { ioError } from '../../errors.ts';
import { corruptIndex } from './ivf-header.ts';
import { roundUp } from './lists-file.ts';

export interface ListCacheOptions {
  /** The worker's memory. */
  u8: Uint8Array;
  /** Addresses [start, end) of the ring; the largest list fits. */
  start: number;
  end: number;
  path: string;
  handle: number;
  /** (L + 1) */
  offsets: Float64Array;
  /** (L) CRC-32 */
  checksums: Uint32Array;
  /** Room behind a list, for what is made of it. */
  extraBytes: (list: number) => number;
}

/** A list in memory. */
export interface HeldList {
  address: number;
  /** Of the room behind it. */
  extra: number;
  /** How often it was wanted before. */
  uses: number;
  /** Whether there is something in that room. */
  hasExtra: boolean;
}

export class ListCache {
  readonly #o: ListCacheOptions;
  /** The lists in memory, oldest first. */
  readonly #held = new Map<number, HeldList>();
  #next: number;

  constructor(options: ListCacheOptions) {
    this.#o = options;
    this.#next = options.start;
  }

  /** Whether the list is in memory. */
  has(list: number): boolean {
    return this.#held.has(list);
  }

  /** Address of a list, good until the next call. Errors: `STORE_CORRUPT`, `IO`. */
  get(list: number): number {
    return this.take(list).address;
  }

  /** A list with the room behind it, good until the next call. Errors: `STORE_CORRUPT`, `IO`. */
  take(list: number): HeldList {
    const held = this.#held.get(list);
    if (!held) return this.#read(list);
    held.uses++;
    return held;
  }

  #read(list: number): HeldList {
    const { u8, path, handle, offsets, checksums, extraBytes } = this.#o;
    const bytes = offsets[list + 1]! - offsets[list]!;
    const extra = roundUp(bytes, 64);
    const address = this.#makeRoom(extra + extraBytes(list));
    const target = u8.subarray(address, address + bytes);
    for (let done = 0; done < bytes; ) {
      let got: number;
      try {
        got = readSync(handle, target, done, bytes - done, offsets[list]! + done);
      } catch (cause) {
        throw ioError('read', path, cause);
      }
      if (got === 0) throw corruptIndex(`The index file ${path} is too short for list ${list}`);
      done += got;
    }
    if (crc32(target) !== checksums[list]) {
      throw corruptIndex(`List ${list} of the index file ${path} does not match its checksum`);
    }
    const held = { address, extra: address + extra, uses: 0, hasExtra: false };
    this.#held.set(list, held);
    return held;
  }

  #makeRoom(bytes: number): number {
    const { start, end } = this.#o;
    if (this.#next + bytes > end) {
      // What lies between here and the end is the oldest there is.
      this.#drop((address) => address >= this.#next);
      this.#next = start;
    }
    const address = this.#next;
    this.#next += bytes;
    this.#drop((held) => held >= address && held < this.#next);
    return address;
  }

  /** Forgets lists from the oldest on, as long as they are in the way. */
  #drop(isInTheWay: (address: number) => boolean): void {
    for (const [list, { address }] of this.#held) {
      if (!isInTheWay(address)) return;
      this.#held.delete(list);
    }
  }
}
