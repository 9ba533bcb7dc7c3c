/** What all requests share: the open stores, who may work now, what was done so far. */
import { resolve } from 'node:path';
import type { KnnLM } from '../knnlm/knnlm.ts';
import type { OpenStore } from '../knnlm/open-stores.ts';
import { modelName } from '../model/resolve-model.ts';
import { Contributions } from './contributions.ts';
import { Metrics } from './metrics.ts';
import type { ResolvedOptions } from './options.ts';
import { Refusal } from './refusal.ts';
import { Scheduler } from './scheduler.ts';
import { StoreMaps } from './store-maps.ts';
import { StoreWatch } from './store-watch.ts';

/** Changes that may wait for the one under way, each with its text in memory. */
const WRITERS_QUEUE = 16;

export class Service {
  readonly knnlm: KnnLM;
  readonly options: ResolvedOptions;
  /** Texts that are generated, scored or searched with. */
  readonly scheduler: Scheduler;
  /** Changes to the stores, one at a time. */
  readonly writers: Scheduler;
  readonly metrics: Metrics;
  readonly contributions = new Contributions();
  readonly watch: StoreWatch;
  readonly maps: StoreMaps;
  /** The id under `model`. */
  readonly modelName: string;
  /** Unix seconds at which the server began. */
  readonly created = Math.floor(Date.now() / 1000);
  isStopping = false;

  constructor(knnlm: KnnLM, options: ResolvedOptions) {
    this.knnlm = knnlm;
    this.options = options;
    this.scheduler = new Scheduler({ slots: options.concurrency, queue: options.queue });
    this.writers = new Scheduler({ slots: 1, queue: WRITERS_QUEUE });
    this.watch = new StoreWatch(knnlm);
    this.maps = new StoreMaps(knnlm);
    this.modelName = modelName(knnlm.model.info);
    this.metrics = new Metrics({
      scheduler: this.scheduler,
      stores: () => knnlm.stores.map(({ name, info }) => ({ name, ...info })),
      searchMs: () => knnlm.searches.milliseconds,
    });
  }

  /** Folders that no reply may name. */
  get folders(): string[] {
    const { folder, name } = this.knnlm.model.info;
    const stores = this.knnlm.stores.map(({ datastore }) => datastore.path);
    const paths = [folder, ...stores, ...(resolve(name) === resolve(folder) ? [name] : [])];
    return [...new Set(paths.flatMap((path) => [path, resolve(path)]))];
  }

  /** Errors: `Refusal` with 404. */
  store(name: string | undefined): OpenStore {
    if (name === undefined) return this.knnlm.stores[0]!;
    const store = this.knnlm.stores.find((open) => open.name === name);
    if (store) return store;
    throw this.noStore(name);
  }

  noStore(name: string): Refusal {
    const names = this.knnlm.stores.map((open) => open.name).join(', ');
    return new Refusal(404, `No store is called ${JSON.stringify(name)}. Served are: ${names}.`, {
      param: 'store',
      code: 'store_not_found',
    });
  }
}
