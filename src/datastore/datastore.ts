/** A datastore opened for reading. It needs no lock; what a running build has acknowledged is visible when opened. */
import type { IdRange, KeySource } from '../math/vectors.ts';
import { checkSizes } from './check-sizes.ts';
import { DocumentTable } from './document-table.ts';
import { fileSize } from './files.ts';
import {
  entriesOf,
  headerOf,
  type Manifest,
  manifestPath,
  readManifest,
  type StoreHeader,
  writeManifest,
} from './manifest.ts';
import { requireLittleEndian, segmentParts } from './segment.ts';
import { lockStore } from './store-lock.ts';
import type { SettingsRecord } from './types.ts';
import { ValueTable } from './value-table.ts';

/** Bytes on disk. Other files in the folder, an index say, are not counted. */
export interface StoreBytes {
  keys: number;
  values: number;
  documents: number;
  checksums: number;
  manifest: number;
  total: number;
}

export class Datastore {
  readonly path: string;
  readonly documents: DocumentTable;
  #manifest: Manifest;
  readonly #values: ValueTable;

  private constructor(path: string, manifest: Manifest, documents: DocumentTable) {
    this.path = path;
    this.#manifest = manifest;
    this.documents = documents;
    this.#values = new ValueTable(path, manifest);
  }

  /** Errors: `STORE_NOT_FOUND`, `STORE_CORRUPT` (naming the file), `STORE_VERSION`. */
  static async open(path: string): Promise<Datastore> {
    requireLittleEndian();
    const manifest = await readManifest(path);
    await checkSizes(path, manifest);
    return new Datastore(path, manifest, await DocumentTable.load(path, manifest));
  }

  get manifest(): Manifest {
    return this.#manifest;
  }

  get header(): StoreHeader {
    return headerOf(this.#manifest);
  }

  /** n: entries of complete documents, deleted ones included. */
  get entries(): number {
    return entriesOf(this.#manifest);
  }

  /** d */
  get keyDim(): number {
    return this.#manifest.key.dim;
  }

  /** False while a build or an add has not finished. */
  get complete(): boolean {
    return this.#manifest.building === null;
  }

  /** Null until a build has finished. */
  get settings(): SettingsRecord | null {
    return this.#manifest.settings;
  }

  /** Where the keys lie, in entry order. */
  keySources(): KeySource[] {
    const { segments, key } = this.#manifest;
    return segments
      .filter((segment) => segment.entries > 0)
      .map((segment) => ({
        path: segmentParts(this.path, this.#manifest, segment)[0]!.path,
        dtype: key.dtype,
        count: segment.entries,
        byteOffset: 0,
      }));
  }

  /** Entries that must not be retrieved: deleted documents. Sorted, adjacent ones merged. */
  excludedRanges(): IdRange[] {
    const merged: [number, number][] = [];
    for (const [start, end] of this.#manifest.deleted) {
      const last = merged.at(-1);
      if (last && last[1] === start) last[1] = end;
      else merged.push([start, end]);
    }
    return merged;
  }

  /** The token after each stored context. @param ids (m) entry ids @returns (m) token ids */
  values(ids: Int32Array): Promise<Uint32Array> {
    return this.#values.gather(ids);
  }

  /** @returns (end - start) token ids of consecutive entries */
  valueRange(start: number, end: number): Promise<Uint32Array> {
    return this.#values.range(start, end);
  }

  async bytes(): Promise<StoreBytes> {
    const result = { keys: 0, values: 0, documents: 0, checksums: 0, manifest: 0, total: 0 };
    for (const segment of this.#manifest.segments) {
      for (const { part, path } of segmentParts(this.path, this.#manifest, segment)) {
        result[part] += (await fileSize(path)) ?? 0;
        result.checksums += (await fileSize(`${path}.crc`)) ?? 0;
      }
    }
    result.manifest = (await fileSize(manifestPath(this.path))) ?? 0;
    const { keys, values, documents, checksums, manifest } = result;
    return { ...result, total: keys + values + documents + checksums + manifest };
  }

  /** Stores other retrieval settings. Errors: `STORE_LOCKED` while the store is being written. */
  async updateSettings(settings: SettingsRecord): Promise<void> {
    const lock = await lockStore(this.path);
    try {
      const current = await readManifest(this.path);
      await writeManifest(this.path, { ...current, settings });
      this.#manifest = { ...this.#manifest, settings };
    } finally {
      await lock.release();
    }
  }

  /** Frees the values in memory. */
  async close(): Promise<void> {
    this.#values.clear();
  }
}
