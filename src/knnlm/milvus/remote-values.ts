/**
 * Values of entries that a collection alone has. What is asked for in one turn of the event loop, the text around ten neighbors
 * say, is looked up together.
 */
import type { ValueSource } from '../../datastore/value-source.ts';
import { KnnLMError } from '../../errors.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { type MilvusAccess, MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import { inside } from '../../indexes/milvus/milvus-filter.ts';
import { type MilvusHeader, readMilvusHeader } from '../../indexes/milvus/milvus-header.ts';
import { firstId } from '../../indexes/milvus/milvus-partition.ts';
import type { IdRange } from '../../math/vectors.ts';
import { indexFolder } from '../index-folder.ts';
import { mergeRanges } from '../retriever.ts';

/** Rows, and ranges of them, of one request. */
const ROWS_AT_ONCE = 16_384;
const RANGES_AT_ONCE = 256;

interface Wanted {
  ranges: readonly IdRange[];
  resolve: (values: ReadonlyMap<number, number>) => void;
  reject: (error: unknown) => void;
}

/** @param store a folder with a `milvus.json`. Errors: `STORE_CORRUPT`, `IO`. */
export async function openRemoteValues(
  store: string,
  access?: MilvusAccess,
): Promise<RemoteValues | undefined> {
  const header = await readMilvusHeader(indexFolder(store));
  return header && new RemoteValues(header, access);
}

export class RemoteValues implements ValueSource {
  readonly #header: MilvusHeader;
  readonly #collection: MilvusCollection;
  #wanted: Wanted[] = [];
  #loaded: Promise<void> | undefined;

  constructor(header: MilvusHeader, access?: MilvusAccess) {
    this.#header = header;
    this.#collection = new MilvusCollection(
      new MilvusConnection(parseMilvusUrl(header.url), access),
    );
  }

  /** Errors: `INDEX_UNAVAILABLE`. */
  async gather(ids: Int32Array): Promise<Uint32Array> {
    const values = await this.#find(mergeRanges([...ids].map((id): IdRange => [id, id + 1])));
    return Uint32Array.from(ids, (id) => values.get(id)!);
  }

  /** Errors: `INDEX_UNAVAILABLE`. */
  async range(start: number, end: number): Promise<Uint32Array> {
    const values = await this.#find(start < end ? [[start, end]] : []);
    return Uint32Array.from({ length: end - start }, (_, i) => values.get(start + i)!);
  }

  async close(): Promise<void> {
    await this.#collection.close();
  }

  #find(ranges: readonly IdRange[]): Promise<ReadonlyMap<number, number>> {
    if (ranges.length === 0) return Promise.resolve(new Map());
    return new Promise((resolve, reject) => {
      if (this.#wanted.push({ ranges, resolve, reject }) === 1) setImmediate(() => this.#lookUp());
    });
  }

  async #lookUp(): Promise<void> {
    const wanted = this.#wanted;
    this.#wanted = [];
    try {
      const found = await this.#fetch(mergeRanges(wanted.flatMap(({ ranges }) => ranges)));
      for (const { resolve } of wanted) resolve(found);
    } catch (error) {
      for (const { reject } of wanted) reject(error);
    }
  }

  async #fetch(ranges: readonly IdRange[]): Promise<Map<number, number>> {
    this.#loaded ??= this.#collection.load();
    await this.#loaded.catch((error) => {
      this.#loaded = undefined;
      throw error;
    });
    const { partition, url } = this.#header;
    const first = firstId(partition);
    const found = new Map<number, number>();
    for (const part of inParts(ranges)) {
      const filter = inside(part, first);
      const rows = await this.#collection.query(partition.name, filter, ['id', 'value']);
      for (const { id, value } of rows) found.set(Number(id) - first, Number(value));
    }
    const count = ranges.reduce((sum, [start, end]) => sum + end - start, 0);
    if (found.size === count) return found;
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${url} has ${found.size} of ${count} entries looked up: the others were removed meanwhile. Try again.`,
    );
  }
}

/** Of so many rows and ranges that one request takes them. */
function* inParts(ranges: readonly IdRange[]): Generator<IdRange[]> {
  let part: IdRange[] = [];
  let rows = 0;
  for (const [start, end] of ranges) {
    for (let from = start; from < end; ) {
      const to = Math.min(end, from + ROWS_AT_ONCE - rows);
      part.push([from, to]);
      rows += to - from;
      from = to;
      if (rows < ROWS_AT_ONCE && part.length < RANGES_AT_ONCE) continue;
      yield part;
      part = [];
      rows = 0;
    }
  }
  if (part.length > 0) yield part;
}
