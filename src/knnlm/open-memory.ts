/** Open datastores with their model, as they are on disk now or were when a request began: opened, changed, taken up again, closed. */
import type { Datastore } from '../datastore/datastore.ts';
import { type Removal, removeDocuments } from '../datastore/remove-documents.ts';
import type { DocumentSelection } from '../datastore/select-documents.ts';
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { addEntries, asRead } from './add.ts';
import type { AddOptions, AddResult } from './build-types.ts';
import { type CompactStoreOptions, compactStore, type StoreCompaction } from './compact-store.ts';
import { keepTuned } from './keep-tuned.ts';
import { removeFromMilvus } from './milvus/remove-from-milvus.ts';
import type { StoreMirror } from './milvus/store-mirror.ts';
import type { OpenStore, OpenStores } from './open-stores.ts';
import type { Retriever } from './retriever.ts';
import type { OpenStoreIndex } from './snapshot.ts';
import type { StoreInfo } from './store-info.ts';

/** Which of the open datastores is changed; needed when several are open. */
export interface StoreChoice {
  store?: string;
}

export abstract class OpenMemory {
  readonly model: LanguageModel;
  readonly #openIndex: OpenStoreIndex;
  /** Of the stores that were opened by address. */
  readonly #mirrors: readonly StoreMirror[];
  #open: OpenStores;
  #refreshing: Promise<unknown> = Promise.resolve();
  /** Of the states before this one. */
  #searched = { queries: 0, milliseconds: 0 };

  constructor(parts: {
    open: OpenStores;
    model: LanguageModel;
    openIndex: OpenStoreIndex;
    mirrors?: readonly StoreMirror[];
  }) {
    this.#open = parts.open;
    this.#mirrors = parts.mirrors ?? [];
    this.model = parts.model;
    this.#openIndex = parts.openIndex;
  }

  /** The open datastores, in the order they were named. */
  get stores(): readonly OpenStore[] {
    return this.#open.stores;
  }

  /** Of the first datastore; `stores` has all. */
  get info(): StoreInfo {
    return this.stores[0]!.info;
  }

  /** The first datastore; `stores` has all. */
  get datastore(): Datastore {
    return this.stores[0]!.datastore;
  }

  /** What was searched for since it was opened. */
  get searches(): { queries: number; milliseconds: number } {
    const { queries, milliseconds } = this.#searched;
    const { retriever } = this.#open;
    return {
      queries: queries + retriever.queries,
      milliseconds: milliseconds + retriever.searchMs,
    };
  }

  /** Over all open datastores. */
  get retriever(): Retriever {
    return this.#open.retriever;
  }

  /**
   * Takes up what has been added, removed, tuned or compacted since, by this process or another, without loading the
   * model again. Requests under way end on the state they began with.
   * @returns whether anything had changed
   */
  async refresh(): Promise<boolean> {
    await this.pull();
    const turn = this.#refreshing.then(async () => {
      const before = this.#open;
      const now = await before.refresh(this.#openIndex);
      if (now === before) return false;
      this.#searched = this.searches;
      this.#open = now;
      await before.release();
      return true;
    });
    this.#refreshing = turn.catch(() => undefined);
    return await turn;
  }

  /**
   * Fetches what has changed of stores that were opened by address; `refresh` takes it up. A server that is away is not
   * spoken of here: the next search is where it is missed.
   */
  async pull(): Promise<void> {
    if (this.#mirrors.length === 0) return;
    const turn = this.#refreshing.then(() => Promise.all(this.#mirrors.map((one) => one.pull())));
    this.#refreshing = turn.catch(() => undefined);
    await turn.catch((error) => {
      if (!(error instanceof KnnLMError) || error.code !== 'INDEX_UNAVAILABLE') throw error;
    });
  }

  /** Adds documents and takes them up. Errors: as `addDocuments`. */
  async add(
    documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
    { store, ...options }: AddOptions & StoreChoice = {},
  ): Promise<AddResult> {
    const { path } = this.#chosen(store);
    const result = await addEntries(asRead(documents), this.model, path, options);
    const settings = await keepTuned(path, this.model, options);
    await this.refresh();
    return settings ? { ...result, settings } : result;
  }

  /** Removes documents; the next request retrieves nothing of them. Errors: as `removeDocuments`. */
  async remove(selection: DocumentSelection, { store }: StoreChoice = {}): Promise<Removal> {
    const { path, documents: known } = this.#chosen(store);
    const removal = await removeDocuments(path, selection, { known });
    await this.refresh();
    await removeFromMilvus(path);
    return removal;
  }

  /** Rewrites the datastore without what was removed, and takes it up. Errors: as `compactStore`. */
  async compact({
    store,
    ...options
  }: CompactStoreOptions & StoreChoice = {}): Promise<StoreCompaction> {
    const { path } = this.#chosen(store);
    const result = await compactStore(path, { model: this.model, ...options });
    await this.refresh();
    return result;
  }

  async close(): Promise<void> {
    await this.#refreshing;
    await Promise.all([this.#open.release(), this.model.close()]);
    await Promise.all(this.#mirrors.map((mirror) => mirror.close()));
  }

  /** What a request that begins now reads. */
  protected get current(): OpenStores {
    return this.#open;
  }

  /** The datastore that a change is for. Errors: `INVALID_ARGUMENT` when it could be several. */
  #chosen(name: string | undefined): Datastore {
    if (name !== undefined) return this.#requireOwn(this.#open.named(name).datastore);
    if (this.stores.length === 1) return this.#requireOwn(this.datastore);
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `Several datastores are open (${this.stores.map((open) => open.name).join(', ')}). Say which one to change: { store: name }.`,
    );
  }

  protected mirrorOf({ path }: Datastore): StoreMirror | undefined {
    return this.#mirrors.find((mirror) => mirror.path === path);
  }

  /** Errors: `INVALID_ARGUMENT` for a store that was opened by address. */
  #requireOwn(datastore: Datastore): Datastore {
    const mirror = this.mirrorOf(datastore);
    if (!mirror) return datastore;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${mirror.url} was opened by its address and cannot be changed here. Change it where the folder of ${mirror.name} lies; what changes there is seen here.`,
    );
  }
}
