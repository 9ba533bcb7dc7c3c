/**
 * What a machine needs that has nothing but a collection's address: the small files of the datastores in it, kept in a second
 * collection, `<collection>_stores`, since a collection of entries has room for entries only.
 *
 * Rows: `id` (int64, primary) is the datastore's number × 2³¹ + a count; `part` (int64) 0 for a head, else 1; `text` (varchar) a head's
 * JSON, or 45,000 bytes of a gzipped file in base64; `key` (two floats, 0) because Milvus wants a vector. A head is one row and
 * replaced as one: it names the rows of a catalog, and that those of the files. Rows of files are never changed, so what has not
 * changed is not sent again, and whoever reads by an older head has what it names or begins again.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { KnnLMError } from '../../errors.ts';
import { formatMilvusUrl } from './milvus-address.ts';
import { MilvusCollection } from './milvus-collection.ts';
import type { CallOptions, MilvusConnection } from './milvus-connection.ts';
import { firstId, type MilvusPartition } from './milvus-partition.ts';
import type { Sdk } from './milvus-sdk.ts';

/** Bytes of a gzipped file in one row: 60,000 letters of base64, of the 65,535 that Milvus allows. */
const CHUNK_BYTES = 45_000;
const TEXT_BYTES = 65_535;
/** Rows sent or fetched by one request: 4 MB. */
const ROWS_AT_ONCE = 64;
const FORMAT = 'knnlm-store';
const VERSION = 1;
const DEFAULT_PARTITION = '_default';
/** Readings begun again because a head was replaced meanwhile. */
const ROUNDS = 5;

const AGAIN = "Send it again where the store's folder lies: knnlm index STORE";

const zip = promisify(gzip);
const unzip = promisify(gunzip);

/** A file of a datastore's folder. */
export interface StoreFile {
  /** Path within the folder. */
  name: string;
  bytes: Uint8Array;
}

interface StoredFile {
  name: string;
  sha256: string;
  /** Rows, counted within the datastore's. */
  first: number;
  chunks: number;
}

/** A datastore that can be opened by the address of its collection. */
export interface PublishedStore {
  format: typeof FORMAT;
  version: typeof VERSION;
  /** What its folder is called. */
  name: string;
  partition: MilvusPartition;
  /** Of all files: another one when anything has changed. */
  revision: string;
  /** Partitions whose datastore this one has taken the place of. */
  replaces: string[];
  catalog: StoredFile;
  /** The first count that no row has had. */
  next: number;
}

export class MilvusStores {
  readonly #rows: MilvusCollection;
  readonly #entries: string;
  #isReady = false;

  constructor(connection: MilvusConnection) {
    this.#entries = formatMilvusUrl(connection.address);
    this.#rows = new MilvusCollection(connection, `${connection.address.collection}_stores`);
  }

  /** Without those that others have taken the place of. Errors: `INVALID_ARGUMENT`, `STORE_VERSION`, `INDEX_UNAVAILABLE`. */
  async list(calls: CallOptions = {}): Promise<PublishedStore[]> {
    if (!(await this.#open(calls))) return [];
    const rows = await this.#query('part == 0', ['text'], calls);
    const heads = await Promise.all(rows.map(({ text }) => this.#parse(String(text))));
    const replaced = new Set(heads.flatMap(({ replaces }) => replaces));
    return heads.filter(({ partition }) => !replaced.has(partition.name));
  }

  /** Every file, one after another. Errors: `STORE_CORRUPT` when rows are missing though the head still names them. */
  async read(store: PublishedStore, calls: CallOptions = {}): Promise<StoreFile[]> {
    let head = store;
    for (let round = 1; ; round++) {
      try {
        const files: StoreFile[] = [];
        for (const file of await this.#catalog(head, calls))
          files.push({ name: file.name, bytes: await this.#fetch(head, file, calls) });
        return files;
      } catch (error) {
        if (!(error instanceof KnnLMError) || error.code !== 'STORE_CORRUPT') throw error;
        const now = await this.#head(store.partition, calls);
        if (round === ROUNDS || !now || now.revision === head.revision) throw error;
        head = now;
      }
    }
  }

  /**
   * Sends what has changed and makes it count at once. One writer at a time.
   * @param options.anew sends everything, whatever is there
   */
  async publish(
    store: Pick<PublishedStore, 'name' | 'partition' | 'replaces'>,
    files: readonly StoreFile[],
    { anew, ...calls }: CallOptions & { anew?: boolean },
  ): Promise<void> {
    if (!(await this.#open(calls))) await this.#create(calls);
    const { partition } = store;
    // One that cannot be read is replaced.
    const before = await this.#head(partition, calls).catch((error) => {
      if (error instanceof KnnLMError && error.code === 'STORE_CORRUPT') return undefined;
      throw error;
    });
    const named = files.map(({ name, bytes }) => ({ name, bytes, sha256: sha256(bytes) }));
    const listing = JSON.stringify([store, named.map(({ name, sha256: sum }) => [name, sum])]);
    const revision = sha256(Buffer.from(listing));
    if (before?.revision === revision && !anew) return;
    const known = before && !anew ? await this.#catalog(before, calls).catch(() => []) : [];
    let next = before?.next ?? 1;
    const stored: StoredFile[] = [];
    for (const { name, bytes, sha256: sum } of named) {
      const same = known.find((file) => file.sha256 === sum);
      const file = same ? { ...same, name } : await this.#send(partition, next, name, bytes, calls);
      stored.push(file);
      next = Math.max(next, file.first + file.chunks);
    }
    const list = Buffer.from(JSON.stringify(stored));
    const catalog = await this.#send(partition, next, 'catalog', list, calls);
    next += catalog.chunks;
    const head = { format: FORMAT, version: VERSION, ...store, revision, catalog, next };
    await this.#upsert([this.#row(partition, 0, JSON.stringify(head))], calls);
    await this.#removeUnused(partition, [...stored, catalog], next, calls);
  }

  /** Whoever has its files may go on with them. One that is not there is passed over. */
  async remove(partition: MilvusPartition, calls: CallOptions = {}): Promise<void> {
    if (!(await this.#open(calls))) return;
    // The number may be another's by now.
    if ((await this.#head(partition, calls))?.partition.name !== partition.name) return;
    const first = firstId(partition);
    await this.#delete(`id >= ${first} and id < ${first + 2 ** 31}`, calls);
  }

  async #open(calls: CallOptions): Promise<boolean> {
    if (this.#isReady) return true;
    const { connection, name: collection_name } = this.#rows;
    const has = await connection.call(
      'look for the stores',
      (c) => c.hasCollection({ collection_name }),
      calls,
    );
    if (!has.value) return false;
    // An earlier process may have been stopped before.
    if (!(await this.#rows.index(calls))) await this.#rows.createIndex('FLAT', {});
    await this.#rows.load(calls);
    this.#isReady = true;
    return true;
  }

  async #create(calls: CallOptions): Promise<void> {
    const { connection, name: collection_name } = this.#rows;
    await connection.call(
      'create the collection of stores',
      (client, { DataType }) =>
        client.createCollection({
          collection_name,
          description: JSON.stringify({ format: 'knnlm-stores', version: VERSION }),
          fields: [
            { name: 'id', data_type: DataType.Int64, is_primary_key: true, autoID: false },
            { name: 'part', data_type: DataType.Int64 },
            { name: 'text', data_type: DataType.VarChar, max_length: TEXT_BYTES },
            { name: 'key', data_type: DataType.FloatVector, dim: 2 },
          ],
          consistency_level: 'Strong',
        }),
      calls,
    );
    await this.#open(calls);
  }

  async #head(partition: MilvusPartition, calls: CallOptions): Promise<PublishedStore | undefined> {
    const [row] = await this.#query(`id == ${firstId(partition)}`, ['text'], calls);
    return row && (await this.#parse(String(row.text)));
  }

  async #parse(text: string): Promise<PublishedStore> {
    const head = parsed(text) as PublishedStore | undefined;
    if (head?.format === FORMAT && head.version > VERSION) {
      throw new KnnLMError(
        'STORE_VERSION',
        `${this.#entries} holds a store of version ${head.version}; this knnlm reads ${VERSION}. Update it: npm install knnlm@latest`,
      );
    }
    const { publishedStoreSchema, problemOf } = await import('../header-schema.ts');
    const problem = problemOf(publishedStoreSchema, head);
    if (problem === undefined) return head!;
    throw new KnnLMError(
      'STORE_CORRUPT',
      `${this.#entries} tells of a store that cannot be read: ${problem}. ${AGAIN}`,
    );
  }

  async #catalog(head: PublishedStore, calls: CallOptions): Promise<StoredFile[]> {
    const bytes = await this.#fetch(head, head.catalog, calls);
    const { catalogSchema } = await import('../header-schema.ts');
    return catalogSchema.parse(parsed(bytes.toString('utf8')));
  }

  async #fetch(
    { partition, name }: PublishedStore,
    file: StoredFile,
    calls: CallOptions,
  ): Promise<Buffer> {
    const start = firstId(partition) + file.first;
    const chunks = new Map<number, Buffer>();
    for (let from = 0; from < file.chunks; from += ROWS_AT_ONCE) {
      const to = Math.min(file.chunks, from + ROWS_AT_ONCE);
      const filter = `id >= ${start + from} and id < ${start + to}`;
      for (const { id, text } of await this.#query(filter, ['id', 'text'], calls))
        chunks.set(Number(id) - start, Buffer.from(String(text), 'base64'));
    }
    const parts = Array.from({ length: file.chunks }, (_, i) => chunks.get(i) ?? Buffer.alloc(0));
    const bytes = await unzip(Buffer.concat(parts)).catch(() => Buffer.alloc(0));
    if (sha256(bytes) === file.sha256) return bytes;
    throw new KnnLMError(
      'STORE_CORRUPT',
      `${this.#entries} does not hold ${file.name} of the store ${name} as it was sent. ${AGAIN}`,
    );
  }

  async #send(
    partition: MilvusPartition,
    first: number,
    name: string,
    bytes: Uint8Array,
    calls: CallOptions,
  ): Promise<StoredFile> {
    const zipped = await zip(bytes);
    const chunks = Math.ceil(zipped.length / CHUNK_BYTES);
    for (let from = 0; from < chunks; from += ROWS_AT_ONCE) {
      const count = Math.min(ROWS_AT_ONCE, chunks - from);
      const rows = Array.from({ length: count }, (_, i) => {
        const at = (from + i) * CHUNK_BYTES;
        const text = zipped.toString('base64', at, Math.min(zipped.length, at + CHUNK_BYTES));
        return this.#row(partition, first + from + i, text);
      });
      await this.#upsert(rows, calls);
    }
    return { name, sha256: sha256(bytes), first, chunks };
  }

  #row(partition: MilvusPartition, count: number, text: string): Sdk.RowData {
    return { id: firstId(partition) + count, part: count === 0 ? 0 : 1, text, key: [0, 0] };
  }

  /** Rows that no head names any more, those of a publishing that was stopped among them. */
  async #removeUnused(
    partition: MilvusPartition,
    files: readonly StoredFile[],
    next: number,
    calls: CallOptions,
  ): Promise<void> {
    const first = firstId(partition);
    let from = 1;
    const unused: string[] = [];
    for (const file of [...files].sort((a, b) => a.first - b.first)) {
      if (file.first > from) unused.push(`(id >= ${first + from} and id < ${first + file.first})`);
      from = Math.max(from, file.first + file.chunks);
    }
    unused.push(`(id >= ${first + Math.max(from, next)} and id < ${first + 2 ** 31})`);
    await this.#delete(unused.join(' or '), calls);
  }

  #query(filter: string, fields: string[], calls: CallOptions): Promise<Record<string, unknown>[]> {
    return this.#rows.query(DEFAULT_PARTITION, filter, fields, calls);
  }

  async #upsert(data: Sdk.RowData[], calls: CallOptions): Promise<void> {
    const { connection, name: collection_name } = this.#rows;
    await connection.call('store files', (c) => c.upsert({ collection_name, data }), calls);
  }

  async #delete(filter: string, calls: CallOptions): Promise<void> {
    await this.#rows.remove(DEFAULT_PARTITION, filter, calls);
  }
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
