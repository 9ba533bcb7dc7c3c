/**
 * One consistent state of a datastore with its index: what a request reads from its first query to its last, whatever
 * is added, removed or compacted meanwhile. Closed when the last request that reads it has ended.
 */
import { Datastore } from '../datastore/datastore.ts';
import { checkSameHeader } from '../datastore/manifest.ts';
import { sameManifest } from '../datastore/read-snapshot.ts';
import { sharedEntries } from '../datastore/shared-entries.ts';
import { FlatIndex } from '../indexes/flat-index.ts';
import { JoinedIndex } from '../indexes/joined-index.ts';
import { readMilvusHeader } from '../indexes/milvus/milvus-header.ts';
import type { VectorIndex } from '../indexes/vector-index.ts';
import { indexFolder } from './index-folder.ts';
import { isLargeTail } from './keep-indexed.ts';
import { Retriever } from './retriever.ts';
import { describeStore, type StoreInfo } from './store-info.ts';

/** Opens the index that suits a datastore as it is on disk. */
export type OpenStoreIndex = (datastore: Datastore) => Promise<VectorIndex>;

/** An index that several snapshots search. */
class SharedIndex {
  readonly index: VectorIndex;
  #users = 1;

  constructor(index: VectorIndex) {
    this.index = index;
  }

  share(): this {
    this.#users++;
    return this;
  }

  async release(): Promise<void> {
    if (--this.#users === 0) await this.index.close();
  }
}

const partitionNow = async ({ path }: Datastore): Promise<string | undefined> =>
  (await readMilvusHeader(indexFolder(path)))?.partition.name;

export class Snapshot {
  readonly datastore: Datastore;
  readonly info: StoreInfo;
  readonly retriever: Retriever;
  /** Of the entries from 0 on; and of those added since it was opened. */
  readonly #base: SharedIndex;
  readonly #tail: SharedIndex | undefined;
  /** On Milvus, where entries are searched there. */
  readonly #partition: string | undefined;
  #users = 1;

  private constructor(
    datastore: Datastore,
    parts: { info: StoreInfo; base: SharedIndex; tail?: SharedIndex; partition?: string },
  ) {
    const { info, base, tail, partition } = parts;
    this.#partition = partition;
    this.datastore = datastore;
    this.info = info;
    this.#base = base;
    this.#tail = tail;
    const index = tail ? new JoinedIndex([base.index, tail.index]) : base.index;
    this.retriever = new Retriever(datastore, index);
  }

  /**
   * Takes over the datastore. A compaction that replaces its files before the index has opened them makes it begin again.
   * @param shown where the datastore is said to be: its folder, or the address that it was opened by
   */
  static async open(
    datastore: Datastore,
    openIndex: OpenStoreIndex,
    shown = datastore.path,
  ): Promise<Snapshot> {
    let current = datastore;
    for (;;) {
      try {
        const partition = await partitionNow(current);
        const index = await openIndex(current);
        const info = await describeStore(current, shown);
        return new Snapshot(current, { info, base: new SharedIndex(index), partition });
      } catch (error) {
        await current.close();
        const now = await Datastore.open(current.path, { known: current });
        if (sameManifest(now.manifest, current.manifest)) {
          await now.close();
          throw error;
        }
        current = now;
      }
    }
  }

  /**
   * The datastore as it is on disk now: this very snapshot when nothing has changed. What is indexed already stays
   * indexed; only new entries are read, unless they are many.
   * Errors: `MODEL_MISMATCH` when another datastore lies there now, those of `Datastore.open`.
   */
  async refresh(openIndex: OpenStoreIndex): Promise<Snapshot> {
    const datastore = await Datastore.open(this.datastore.path, { known: this.datastore });
    let hasMoved = false;
    try {
      hasMoved = datastore.remote && (await partitionNow(datastore)) !== this.#partition;
      if (!hasMoved && sameManifest(datastore.manifest, this.datastore.manifest)) {
        await datastore.close();
        return this;
      }
      checkSameHeader(datastore.manifest, this.datastore.header);
    } catch (error) {
      await datastore.close();
      throw error;
    }
    const indexed = this.#base.index.size;
    const added = datastore.entries - indexed;
    // Codes of keys that are gone are another index, whatever it holds.
    const isRecoded = datastore.dropped?.codes !== this.datastore.dropped?.codes;
    // Without keys here, what is new is searched where the rest is.
    const isElsewhere = datastore.remote && (added > 0 || !this.datastore.remote);
    if (
      hasMoved ||
      isRecoded ||
      isElsewhere ||
      isLargeTail(added, indexed) ||
      sharedEntries(this.datastore, datastore) < indexed
    )
      return await Snapshot.open(datastore, openIndex, this.info.path);
    return await this.#extend(datastore);
  }

  async #extend(datastore: Datastore): Promise<Snapshot> {
    const { entries } = datastore;
    const sources = datastore.keySources(datastore.remote ? entries : this.#base.index.size);
    let tail: SharedIndex | undefined;
    try {
      if (datastore.entries === this.datastore.entries) tail = this.#tail?.share();
      else tail = new SharedIndex(await FlatIndex.open({ sources, dim: datastore.keyDim }));
      const info = await describeStore(datastore, this.info.path);
      const partition = this.#partition;
      return new Snapshot(datastore, { info, base: this.#base.share(), tail, partition });
    } catch (error) {
      await tail?.release();
      await datastore.close();
      throw error;
    }
  }

  /** Keeps it open until `release` is called once more. */
  hold(): this {
    this.#users++;
    return this;
  }

  async release(): Promise<void> {
    if (--this.#users > 0) return;
    await Promise.all([this.#base.release(), this.#tail?.release(), this.datastore.close()]);
  }
}
