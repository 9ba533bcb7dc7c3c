/**
 * A store opened by its collection's address alone: its small files are fetched into a folder of this process, which is then
 * opened as any other; keys and values stay where they are. It can be searched, not changed.
 */
import { mkdir, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { ioError, KnnLMError } from '../../errors.ts';
import {
  formatMilvusUrl,
  isMilvusUrl,
  type MilvusAddress,
  parseMilvusUrl,
} from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import {
  type CallOptions,
  type MilvusAccess,
  MilvusConnection,
} from '../../indexes/milvus/milvus-connection.ts';
import { readMilvusHeader, writeMilvusHeader } from '../../indexes/milvus/milvus-header.ts';
import { partitionOf } from '../../indexes/milvus/milvus-partition.ts';
import {
  MilvusStores,
  type PublishedStore,
  type StoreFile,
} from '../../indexes/milvus/milvus-stores.ts';
import { indexFolder } from '../index-folder.ts';

/** What a folder may hold: names come from a server. */
const FILE = /^(manifest\.json|index\/milvus\.json|segments\/\d{6,}\/documents\.jsonl(\.crc)?)$/;
const SEGMENT = /^segments\/(\d+)\//;

export interface MirrorOptions extends CallOptions {
  access?: MilvusAccess;
}

export class StoreMirror {
  /** As it was given. */
  readonly url: string;
  /** The folder. */
  readonly path: string;
  readonly #address: MilvusAddress;
  readonly #connection: MilvusConnection;
  #stores: MilvusStores;
  /** As it was when it was chosen, then as the folder has it. */
  #store: PublishedStore;
  #isFetched = false;

  private constructor(parts: {
    url: string;
    path: string;
    store: PublishedStore;
    address: MilvusAddress;
    connection: MilvusConnection;
  }) {
    this.url = parts.url;
    this.path = parts.path;
    this.#store = parts.store;
    this.#address = parts.address;
    this.#connection = parts.connection;
    this.#stores = new MilvusStores(parts.connection);
  }

  /** What the store's own folder is called. */
  get name(): string {
    return this.#store.name;
  }

  /**
   * @param url `milvus://host:port/collection`, with `?store=NAME` where it has several
   * Errors: `INVALID_ARGUMENT`, `STORE_NOT_FOUND`, `INDEX_UNAVAILABLE`, `STORE_VERSION`, `STORE_CORRUPT`, `IO`.
   */
  static async open(url: string, { access, ...calls }: MirrorOptions = {}): Promise<StoreMirror> {
    const address = parseMilvusUrl(url);
    const connection = new MilvusConnection(address, access);
    let path: string | undefined;
    try {
      const store = await chosen(connection, calls);
      path = await mkdtemp(join(tmpdir(), 'knnlm-store-')).catch((cause) => {
        throw ioError('make a folder in', tmpdir(), cause);
      });
      const mirror = new StoreMirror({ url, path, store, address, connection });
      await mirror.pull(calls);
      return mirror;
    } catch (error) {
      await connection.close();
      if (path !== undefined) await rm(path, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * Brings the folder to what was published last.
   * @returns whether that was another state. Errors: as `open`.
   */
  async pull(calls: CallOptions = {}): Promise<boolean> {
    try {
      const store = await this.#now(calls);
      if (this.#isFetched && store.revision === this.#store.revision) return false;
      await this.#write(await this.#stores.read(store, calls));
      this.#store = store;
      this.#isFetched = true;
      return true;
    } catch (error) {
      // A server that comes back may have to load the collection.
      this.#stores = new MilvusStores(this.#connection);
      throw error;
    }
  }

  /** The same store, whatever else the collection holds by now. */
  async #now(calls: CallOptions): Promise<PublishedStore> {
    const all = await this.#stores.list(calls);
    const { partition, name } = this.#store;
    const same = all.find((one) => one.partition.name === partition.name);
    const next = all.find((one) => one.replaces.includes(partition.name));
    const namesakes = all.filter((one) => one.name === name);
    return (
      same ??
      next ??
      (namesakes.length === 1 ? namesakes[0]! : await chosen(this.#connection, calls))
    );
  }

  /** The manifest last: until then the folder is what it was. */
  async #write(files: readonly StoreFile[]): Promise<void> {
    const stray = files.find(({ name }) => !FILE.test(name));
    if (stray) {
      throw new KnnLMError(
        'STORE_CORRUPT',
        `${this.url} names the file ${JSON.stringify(stray.name)}, which no store has. Send it again where the store's folder lies: knnlm index STORE`,
      );
    }
    try {
      for (const { name, bytes } of files) {
        const path = join(this.path, name);
        await mkdir(dirname(path), { recursive: true });
        await writeFile(`${path}.new`, bytes);
      }
      for (const { name } of files.filter((file) => file.name !== 'manifest.json'))
        await rename(join(this.path, `${name}.new`), join(this.path, name));
      await this.#readdress();
      await rename(join(this.path, 'manifest.json.new'), join(this.path, 'manifest.json'));
      await this.#removeOthers(files);
    } catch (cause) {
      if (cause instanceof KnnLMError) throw cause;
      throw ioError('write in', this.path, cause);
    }
  }

  /** Who sent the entries may know the server by another name. */
  async #readdress(): Promise<void> {
    const folder = indexFolder(this.path);
    const header = await readMilvusHeader(folder);
    if (header) await writeMilvusHeader(folder, { ...header, url: formatMilvusUrl(this.#address) });
  }

  async #removeOthers(files: readonly StoreFile[]): Promise<void> {
    const named = new Set(files.map(({ name }) => SEGMENT.exec(name)?.[1]));
    for (const name of await readdir(join(this.path, 'segments')))
      if (!named.has(name)) await rm(join(this.path, 'segments', name), { recursive: true });
  }

  async close(): Promise<void> {
    await this.#connection.close();
    await rm(this.path, { recursive: true, force: true });
  }
}

/** The store that an address means. */
async function chosen(connection: MilvusConnection, calls: CallOptions): Promise<PublishedStore> {
  const { address } = connection;
  const all = await new MilvusStores(connection).list(calls);
  const wanted = address.store;
  const found = all.filter(
    ({ name, partition }) =>
      wanted === undefined || name === wanted || String(partition.number) === wanted,
  );
  if (found.length === 1) return found[0]!;
  const url = formatMilvusUrl(address);
  if (all.length === 0) throw await nothingIn(connection, calls);
  const names = all.map(({ name, partition }) => `${name} (${partition.number})`).join(', ');
  throw new KnnLMError(
    found.length === 0 ? 'STORE_NOT_FOUND' : 'INVALID_ARGUMENT',
    found.length === 0
      ? `${url} holds no store ${JSON.stringify(wanted)}, but: ${names}. Name one of them: "${url}?store=${all[0]!.name}"`
      : `${url} holds several stores: ${names}. Name one, or its number where names are the same: "${url}?store=${found[0]!.name}"`,
  );
}

/** Why there is no store. */
async function nothingIn(connection: MilvusConnection, calls: CallOptions): Promise<KnnLMError> {
  const collection = new MilvusCollection(connection);
  const url = formatMilvusUrl(connection.address);
  const facts = await collection.describe(calls);
  if (!facts) {
    return new KnnLMError(
      'STORE_NOT_FOUND',
      `Milvus at ${connection.server} has no collection ${connection.address.collection}. Send a store there: knnlm index STORE --index ${url}`,
    );
  }
  const begun = (await collection.partitions(calls)).filter((name) => partitionOf(name));
  return new KnnLMError(
    'STORE_NOT_FOUND',
    begun.length === 0
      ? `${url} holds no store. Send one there: knnlm index STORE --index ${url}`
      : `${url} holds entries of ${begun.length === 1 ? 'a store that was' : `${begun.length} stores that were`} not sent to the end. Run the same command again where the store's folder lies: knnlm index STORE --index ${url}`,
  );
}

/** Gives the folder of a store, which for an address is fetched first and gone afterwards. */
export async function withStoreFolder<Result>(
  store: string,
  use: (path: string) => Promise<Result>,
): Promise<Result> {
  if (!isMilvusUrl(store)) return await use(store);
  const mirror = await StoreMirror.open(store);
  try {
    return await use(mirror.path);
  } finally {
    await mirror.close();
  }
}
