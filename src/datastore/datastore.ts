/**
 * A datastore opened for reading: one consistent state of it, whatever is added, removed or compacted meanwhile.
 * It needs no lock; what a running build has acknowledged is visible when opened.
 */
import type { IdRange, KeySource } from '../math/vectors.ts';
import { checkSizes } from './check-sizes.ts';
import { DocumentTable } from './document-table.ts';
import { keysDropped } from './drop-keys.ts';
import { fileSize } from './files.ts';
import {
  droppedEntriesOf,
  entriesOf,
  headerOf,
  liveEntriesOf,
  type Manifest,
  manifestPath,
  readManifest,
  type StoreHeader,
  writeManifest,
} from './manifest.ts';
import { readSnapshot } from './read-snapshot.ts';
import { keyBytes, requireLittleEndian, segmentPart, segmentParts } from './segment.ts';
import { lockStore } from './store-lock.ts';
import type { SettingsRecord } from './types.ts';
import { entriesElsewhere, noValues, type OpenValues, type ValueSource } from './value-source.ts';
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

export interface OpenDatastoreOptions {
  /** An earlier state of it, open: what has not changed since is not read again. */
  known?: Datastore;
  /** Of an earlier state, if that is all that is left of it. */
  documents?: DocumentTable;
  /** Where values are read that were left to a server. Default: that of the earlier state. */
  openValues?: OpenValues;
}

export class Datastore {
  readonly path: string;
  readonly documents: DocumentTable;
  #manifest: Manifest;
  readonly #values: ValueTable | ValueSource;
  readonly #openValues: OpenValues | undefined;

  private constructor(
    path: string,
    parts: {
      manifest: Manifest;
      documents: DocumentTable;
      values: ValueTable | ValueSource;
      openValues: OpenValues | undefined;
    },
  ) {
    this.path = path;
    this.#manifest = parts.manifest;
    this.documents = parts.documents;
    this.#values = parts.values;
    this.#openValues = parts.openValues;
  }

  /**
   * It holds files open until it is closed.
   * Errors: `STORE_NOT_FOUND`, `STORE_CORRUPT` (naming the file), `STORE_VERSION`.
   */
  static async open(path: string, options: OpenDatastoreOptions = {}): Promise<Datastore> {
    requireLittleEndian();
    const { known, documents: knownDocuments = known?.documents } = options;
    const openValues = options.openValues ?? (known ? known.#openValues : undefined);
    return await readSnapshot(path, async (manifest) => {
      await checkSizes(path, manifest);
      const documents = await DocumentTable.load(path, manifest, { known: knownDocuments });
      const tableOf = (segment: number): ValueTable | undefined => {
        if (!known || !documents.sharesLines(known.documents, segment)) return undefined;
        return known.#values instanceof ValueTable ? known.#values : undefined;
      };
      const values = manifest.remote
        ? ((await openValues?.(path)) ?? noValues(path))
        : await ValueTable.open(path, manifest, tableOf);
      return new Datastore(path, { manifest, documents, values, openValues });
    });
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

  /** Entries that can be retrieved: those of live documents. */
  get liveEntries(): number {
    return liveEntriesOf(this.#manifest);
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

  /** Keys and values are on a server only. */
  get remote(): boolean {
    return this.#manifest.remote === true;
  }

  /** Entries, from 0 on, whose keys were dropped, and the file in `index/` that has their codes. */
  get dropped(): { entries: number; codes: string } | undefined {
    const { codes } = this.#manifest;
    return codes === undefined ? undefined : { entries: droppedEntriesOf(this.#manifest), codes };
  }

  /**
   * Where the keys lie, in entry order. @param from the first entry wanted
   * Errors: `INVALID_ARGUMENT` where keys were dropped or left to a server.
   */
  keySources(from = 0): KeySource[] {
    const { segments, key } = this.#manifest;
    if (this.remote && from < this.entries) throw entriesElsewhere(this.path);
    if (from < droppedEntriesOf(this.#manifest)) throw keysDropped(this.path);
    const sources: KeySource[] = [];
    let start = 0;
    for (const segment of segments) {
      const skipped = Math.max(0, from - start);
      start += segment.entries;
      if (skipped >= segment.entries) continue;
      sources.push({
        path: segmentPart(this.path, this.#manifest, segment, 'keys').path,
        dtype: key.dtype,
        count: segment.entries - skipped,
        byteOffset: skipped * keyBytes(this.#manifest),
      });
    }
    return sources;
  }

  /** Of the keys that are here: not those that were dropped or left to a server. */
  ownKeySources(): KeySource[] {
    return this.keySources(this.remote ? this.entries : droppedEntriesOf(this.#manifest));
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

  /** Frees memory and files. */
  async close(): Promise<void> {
    await this.#values.close();
  }
}
