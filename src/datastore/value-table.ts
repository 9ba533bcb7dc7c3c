/**
 * The values of a datastore, read into memory segment by segment on first use: 2 bytes an entry, or 4.
 * The files are opened at once, so that a compaction that removes them leaves an open datastore as it was.
 */
import { Breather } from '../math/breather.ts';
import { BLOCK_BYTES, checkBlock, readChecksums, truncatedFile } from './checksummed-file.ts';
import { DataFile } from './files.ts';
import type { Manifest } from './manifest.ts';
import { isGrowing, segmentPart } from './segment.ts';
import type { ValueSource } from './value-source.ts';

type Values = Uint16Array | Uint32Array;

interface Segment {
  /** Among the manifest's. */
  number: number;
  file: DataFile;
  /** Ids of the first entry and of the one after the last. */
  start: number;
  end: number;
  /** Undefined while the segment is still being written. */
  checksums?: Buffer;
  loading?: Promise<Values>;
  values?: Values;
}

export class ValueTable implements ValueSource {
  readonly #segments: readonly Segment[];
  readonly #wide: boolean;
  readonly #entries: number;

  private constructor(segments: readonly Segment[], wide: boolean) {
    this.#segments = segments;
    this.#wide = wide;
    this.#entries = segments.at(-1)?.end ?? 0;
  }

  /** @param knownOf of a segment's number: an open table that has the same values in its segment of that number, if one is known */
  static async open(
    store: string,
    manifest: Manifest,
    knownOf: (segment: number) => ValueTable | undefined = () => undefined,
  ): Promise<ValueTable> {
    const segments: Segment[] = [];
    let start = 0;
    try {
      for (const [number, segment] of manifest.segments.entries()) {
        const end = start + segment.entries;
        const { path, bytes } = segmentPart(store, manifest, segment, 'values');
        if (end > start) {
          const growing = isGrowing(manifest, segment);
          const checksums = growing ? undefined : await readChecksums(path, bytes);
          const values = knownOf(number)?.loadedValues(number);
          const file = await DataFile.open(path, 'r');
          segments.push({ number, file, start, end, checksums, values });
        }
        start = end;
      }
    } catch (error) {
      for (const { file } of segments) await file.close();
      throw error;
    }
    return new ValueTable(segments, manifest.values.dtype === 'u32');
  }

  /** Of a segment, if they were needed before. */
  loadedValues(segment: number): Values | undefined {
    return this.#segments.find(({ number }) => number === segment)?.values;
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

  /** Frees memory and files, once what is being read has been. */
  async close(): Promise<void> {
    for (const segment of this.#segments) {
      await segment.loading?.catch(() => undefined);
      segment.values = undefined;
      await segment.file.close();
    }
  }

  async #load(segment: Segment): Promise<Values> {
    if (segment.values) return segment.values;
    // A failure is forgotten: the next call tries again.
    segment.loading ??= readValues(segment, this.#wide).finally(() => {
      segment.loading = undefined;
    });
    segment.values = await segment.loading;
    return segment.values;
  }
}

async function readValues(segment: Segment, wide: boolean): Promise<Values> {
  const { file, start, end, checksums } = segment;
  const values = wide ? new Uint32Array(end - start) : new Uint16Array(end - start);
  const bytes = new Uint8Array(values.buffer);
  for (let at = 0, index = 0; at < bytes.length; at += BLOCK_BYTES, index++) {
    const block = bytes.subarray(at, at + BLOCK_BYTES);
    const read = await file.read(block, at);
    if (read < block.length) throw truncatedFile(file.path, bytes.length, at + read);
    if (checksums) checkBlock(file.path, { block, index, checksums });
  }
  return values;
}
