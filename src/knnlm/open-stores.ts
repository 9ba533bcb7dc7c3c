/**
 * The datastores that a `KnnLM` has open, each in one consistent state, searched as one: the nearest of all are what a
 * datastore of all their documents would give, without a byte being rewritten.
 */
import { basename, resolve } from 'node:path';
import type { Datastore } from '../datastore/datastore.ts';
import { KnnLMError } from '../errors.ts';
import { JoinedIndex } from '../indexes/joined-index.ts';
import type { IdRange } from '../math/vectors.ts';
import { JoinedEntries } from './entries.ts';
import { Retriever } from './retriever.ts';
import type { OpenStoreIndex, Snapshot } from './snapshot.ts';
import type { StoreInfo } from './store-info.ts';

/** One of the datastores that are open. */
export interface OpenStore {
  /** By which requests and results call it; see `storeNames`. */
  name: string;
  info: StoreInfo;
  datastore: Datastore;
  /** Its entries among those of all that are open. */
  range: IdRange;
}

/** Ids are kept in 32 bits. */
const MOST_ENTRIES = 2 ** 31 - 1;

export class OpenStores {
  /** One or more, in the order they were named. */
  readonly stores: readonly OpenStore[];
  /** Over all of them. */
  readonly retriever: Retriever;
  readonly #snapshots: readonly Snapshot[];

  /** Takes over the snapshots. Errors: `INVALID_ARGUMENT` for more than 2³¹ − 1 entries. */
  constructor(names: readonly string[], snapshots: readonly Snapshot[]) {
    this.#snapshots = snapshots;
    let start = 0;
    this.stores = snapshots.map(({ info, datastore }, i) => {
      const range: IdRange = [start, start + datastore.entries];
      start = range[1];
      return { name: names[i]!, info, datastore, range };
    });
    if (start > MOST_ENTRIES) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The datastores hold ${start} entries in all; at most ${MOST_ENTRIES} can be searched together. Open fewer of them.`,
      );
    }
    this.retriever =
      snapshots.length === 1
        ? snapshots[0]!.retriever
        : new Retriever(
            new JoinedEntries(this.stores),
            new JoinedIndex(snapshots.map(({ retriever }) => retriever.index)),
          );
  }

  /** Errors: `INVALID_ARGUMENT` naming those that are open. */
  named(name: string): OpenStore {
    const store = this.stores.find((open) => open.name === name);
    if (store) return store;
    const names = this.stores.map((open) => open.name).join(', ');
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `No open datastore is called ${JSON.stringify(name)}. Open are: ${names}.`,
    );
  }

  /**
   * The datastores as they are on disk now: this very object when nothing has changed. The caller releases this one.
   * Errors: those of `Snapshot.refresh`; then nothing is taken up.
   */
  async refresh(openIndex: OpenStoreIndex): Promise<OpenStores> {
    const turns = await Promise.allSettled(this.#snapshots.map((one) => one.refresh(openIndex)));
    const failed = turns.find((turn) => turn.status === 'rejected');
    const now = turns.map((turn, i) =>
      turn.status === 'fulfilled' ? turn.value : this.#snapshots[i]!,
    );
    const changed = now.filter((snapshot, i) => snapshot !== this.#snapshots[i]);
    if (failed) {
      await Promise.all(changed.map((snapshot) => snapshot.release()));
      throw failed.reason;
    }
    if (changed.length === 0) return this;
    for (const snapshot of now) if (!changed.includes(snapshot)) snapshot.hold();
    return new OpenStores(
      this.stores.map(({ name }) => name),
      now,
    );
  }

  /** Keeps them open until `release` is called once more. */
  hold(): this {
    for (const snapshot of this.#snapshots) snapshot.hold();
    return this;
  }

  async release(): Promise<void> {
    await Promise.all(this.#snapshots.map((snapshot) => snapshot.release()));
  }
}

/**
 * What datastores are called: by the names of their folders; where two folders have one name, by their paths as given.
 * Errors: `INVALID_ARGUMENT` for none, or for one given twice.
 */
export function storeNames(paths: readonly string[]): string[] {
  if (paths.length === 0) {
    throw new KnnLMError('INVALID_ARGUMENT', 'No datastore was given. Name at least one folder.');
  }
  const full = paths.map((path) => resolve(path));
  const twice = full.find((path, i) => full.indexOf(path) !== i);
  if (twice !== undefined) {
    throw new KnnLMError('INVALID_ARGUMENT', `The datastore ${twice} was given twice.`);
  }
  const names = full.map((path) => basename(path));
  return names.map((name, i) => (names.filter((n) => n === name).length > 1 ? paths[i]! : name));
}
