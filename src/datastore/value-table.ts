/** The values of a datastore, read into memory segment by segment on first use: 2 bytes an entry, or 4. */
import { Breather } from '../math/breather.ts';
import { truncatedFile } from './checksummed-file.ts';
import { DataFile } from './files.ts';
import type { Manifest } from './manifest.ts';
import { segmentParts } from './segment.ts';

type Values = Uint16Array | Uint32Array;

interface Segment {
  path: string;
  /** Ids of the first entry and of the one after the last. */
  start: number;
  end: number;
  loaded?: Promise<Values>;
}

const CHUNK_BYTES = 4 * 1024 * 1024;

export class ValueTable {
  readonly #segments: Segment[] = [];
  readonly #wide: boolean;
  readonly #entries: number;

  constructor(store: string, manifest: Manifest) {
    this.#wide = manifest.values.dtype === 'u32';
    let start = 0;
    for (const segment of manifest.segments) {
      const end = start + segment.entries;
      const path = segmentParts(store, manifest, segment)[1]!.path;
      if (end > start) this.#segments.push({ path, start, end });
      start = end;
    }
    this.#entries = start;
  }

  /** @param ids (m) @returns (m) */
  async gather(ids: Int32Array): Promise<Uint32Array> {
    const out = new Uint32Array(ids.length);
    const last = this.#segments.length - 1;
    const needed = new Map<Segment, Values>();
    const breather = new Breather();
    let segment: Segment | undefined;
    let values: Values | undefined;
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i]!;
      if (!segment || !values || id < segment.start || id >= segment.end) {
        if (!(id >= 0 && id < this.#entries)) throw new Error(`no entry ${id} of ${this.#entries}`);
        let s = last;
        while (this.#segments[s]!.start > id) s--;
        segment = this.#segments[s]!;
        values = needed.get(segment) ?? (await this.#load(segment));
        needed.set(segment, values);
      }
      out[i] = values[id - segment.start]!;
      if ((i & 0xffff) === 0xffff) await breather.pause();
    }
    return out;
  }

  /** @returns (end - start) */
  async range(start: number, end: number): Promise<Uint32Array> {
    if (!(start >= 0 && start <= end && end <= this.#entries))
      throw new Error(`no entries ${start} to ${end} of ${this.#entries}`);
    const out = new Uint32Array(end - start);
    for (const segment of this.#segments) {
      const from = Math.max(start, segment.start);
      const to = Math.min(end, segment.end);
      if (from >= to) continue;
      const values = await this.#load(segment);
      out.set(values.subarray(from - segment.start, to - segment.start), from - start);
    }
    return out;
  }

  clear(): void {
    for (const segment of this.#segments) segment.loaded = undefined;
  }

  #load(segment: Segment): Promise<Values> {
    segment.loaded ??= readValues(segment, this.#wide).catch((error: unknown) => {
      // The next call tries again.
      segment.loaded = undefined;
      throw error;
    });
    return segment.loaded;
  }
}

async function readValues({ path, start, end }: Segment, wide: boolean): Promise<Values> {
  const values = wide ? new Uint32Array(end - start) : new Uint16Array(end - start);
  const bytes = new Uint8Array(values.buffer);
  const file = await DataFile.open(path, 'r');
  try {
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
      const chunk = bytes.subarray(at, at + CHUNK_BYTES);
      const read = await file.read(chunk, at);
      if (read < chunk.length) throw truncatedFile(path, bytes.length, at + read);
    }
  } finally {
    await file.close();
  }
  return values;
}
