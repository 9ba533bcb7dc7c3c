/** What a search needs to know of stored entries: those of one datastore, or of several counted through. */
import type { Datastore } from '../datastore/datastore.ts';
import type { StoreHeader } from '../datastore/manifest.ts';
import type { DocumentRecord } from '../datastore/types.ts';
import type { IdRange } from '../math/vectors.ts';

/** A `Datastore` is this, and so is `JoinedEntries`. */
export interface Entries {
  readonly header: StoreHeader;
  /** n, deleted ones included. */
  readonly entries: number;
  readonly documents: EntryDocuments;
  /** Entries that must not be retrieved: sorted, disjoint. */
  excludedRanges(): IdRange[];
  /** @param ids (m) entry ids @returns (m) token ids */
  values(ids: Int32Array): Promise<Uint32Array>;
  /** @returns (end - start) token ids of consecutive entries of one document */
  valueRange(start: number, end: number): Promise<Uint32Array>;
}

/** Live documents in entry order. */
export interface EntryDocuments extends Iterable<DocumentRecord> {
  /** `store` where several are joined. */
  locate(entry: number): { document: DocumentRecord; position: number; store?: string };
  /** Whether the entry's document goes on with the next one. */
  continues(entry: number): boolean;
}

/** A datastore among several. */
export interface NamedDatastore {
  name: string;
  datastore: Datastore;
}

interface Part extends NamedDatastore {
  /** Id of its first entry. */
  start: number;
}

/** Entry ids go through the datastores one after another, as if each were a run of segments of one. */
export class JoinedEntries implements Entries {
  readonly entries: number;
  readonly #parts: Part[] = [];

  /** @param stores one or more */
  constructor(stores: readonly NamedDatastore[]) {
    let start = 0;
    for (const store of stores) {
      this.#parts.push({ ...store, start });
      start += store.datastore.entries;
    }
    this.entries = start;
  }

  get header(): StoreHeader {
    return this.#parts[0]!.datastore.header;
  }

  get documents(): EntryDocuments {
    const parts = this.#parts;
    return {
      *[Symbol.iterator]() {
        for (const { datastore, start } of parts)
          for (const document of datastore.documents)
            yield { ...document, start: document.start + start };
      },
      locate: (entry) => {
        const { name, datastore, start } = this.#partOf(entry);
        const { document, position } = datastore.documents.locate(entry - start);
        return { document: { ...document, start: document.start + start }, position, store: name };
      },
      continues: (entry) => {
        const { datastore, start } = this.#partOf(entry);
        return datastore.documents.continues(entry - start);
      },
    };
  }

  excludedRanges(): IdRange[] {
    return this.#parts.flatMap(({ datastore, start }) =>
      datastore.excludedRanges().map(([from, to]): IdRange => [from + start, to + start]),
    );
  }

  async values(ids: Int32Array): Promise<Uint32Array> {
    const out = new Uint32Array(ids.length);
    await Promise.all(
      this.#parts.map(async ({ datastore, start }) => {
        const places: number[] = [];
        for (let i = 0; i < ids.length; i++) {
          const id = ids[i]! - start;
          if (id >= 0 && id < datastore.entries) places.push(i);
        }
        const own = await datastore.values(Int32Array.from(places, (i) => ids[i]! - start));
        for (const [j, i] of places.entries()) out[i] = own[j]!;
      }),
    );
    return out;
  }

  valueRange(start: number, end: number): Promise<Uint32Array> {
    const part = this.#partOf(start);
    return part.datastore.valueRange(start - part.start, end - part.start);
  }

  #partOf(entry: number): Part {
    return this.#parts.findLast(({ start }) => start <= entry)!;
  }
}
