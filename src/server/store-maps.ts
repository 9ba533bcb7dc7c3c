/** Maps of keys, kept while the stores do not change: one is some hundred milliseconds' work. */
import type { Datastore } from '../datastore/datastore.ts';
import { type KeyMap, mapKeys } from '../knnlm/key-map.ts';
import type { KnnLM } from '../knnlm/knnlm.ts';
import type { OpenStore } from '../knnlm/open-stores.ts';

/** Kept per store. */
const SIZES = 4;

export class StoreMaps {
  readonly #knnlm: KnnLM;
  /** By store and sample. A datastore object is one state of a store. */
  readonly #maps = new WeakMap<Datastore, Map<number, Promise<KeyMap>>>();

  constructor(knnlm: KnnLM) {
    this.#knnlm = knnlm;
  }

  /** Errors: those of `mapKeys`. */
  async of({ name }: OpenStore, sample: number): Promise<KeyMap> {
    return await this.#knnlm.withStores(async (stores) => {
      const { datastore } = stores.find((store) => store.name === name)!;
      const known = this.#maps.get(datastore) ?? new Map<number, Promise<KeyMap>>();
      this.#maps.set(datastore, known);
      const map = known.get(sample) ?? mapKeys(datastore, sample);
      // The one asked for last comes last.
      known.delete(sample);
      known.set(sample, map);
      for (const oldest of known.keys()) {
        if (known.size <= SIZES) break;
        known.delete(oldest);
      }
      return await map.catch((error: unknown) => {
        known.delete(sample);
        throw error;
      });
    });
  }
}
