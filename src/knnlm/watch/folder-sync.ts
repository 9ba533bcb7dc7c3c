/** Brings a store in step with folders, once: what is new or has changed is read, what is gone is removed, and it is noted. */
import { Datastore } from '../../datastore/datastore.ts';
import type { DocumentTable } from '../../datastore/document-table.ts';
import { entriesOf, liveEntriesOf, type Manifest, readManifest } from '../../datastore/manifest.ts';
import type { Skip } from '../../datastore/sources/source-types.ts';
import { withLock } from '../../datastore/store-lock.ts';
import {
  readWatchRecord,
  type WatchRecord,
  writeWatchRecord,
} from '../../datastore/watch-record.ts';
import { KnnLMError } from '../../errors.ts';
import type { LanguageModel } from '../../model/language-model.ts';
import { compactStore } from '../compact-store.ts';
import { builtIndex, keepIndexed } from '../keep-indexed.ts';
import { keepTuned } from '../keep-tuned.ts';
import { loadStoreModel } from '../load-store-model.ts';
import { removeGone, storeFresh } from './apply.ts';
import { type Before, type Look, look } from './look.ts';
import { planSync, recordOf, type SyncPlan } from './plan.ts';
import type { WatchEvent, WatchRequest } from './types.ts';

export interface SyncOutcome {
  /** Until files that were being written may be looked at; undefined when the store is in step. */
  againInMs?: number;
  /** Paths of those. */
  open: string[];
  files: number;
  failed: number;
  hasChanged: boolean;
  /** Tells each folder from another of the same name. */
  identities: string;
  /** Whether some cannot be looked at. */
  isSomeAway: boolean;
  stored: { documents: number; entries: number };
}

type Synced = Extract<WatchEvent, { event: 'synced' }>;

/** A store opens files for each of its segments. */
const MOST_SEGMENTS = 64;
/** Entries that were removed, and their share of all, from which on they are taken out. */
const MANY_GONE = 50_000;
const MANY_GONE_SHARE = 0.25;

export class FolderSync {
  readonly #store: string;
  readonly #folders: readonly string[];
  readonly #request: WatchRequest & { settleMs: number };
  readonly #firstSeen: Before['firstSeen'] = new Map();
  #record: WatchRecord | undefined;
  #table: DocumentTable | undefined;
  #model: Promise<LanguageModel> | undefined;
  /** Skips of the last time: each is told once. */
  #told = new Set<string>();

  /** @param folders absolute paths */
  constructor(
    store: string,
    folders: readonly string[],
    request: WatchRequest & { settleMs: number },
  ) {
    this.#store = store;
    this.#folders = folders;
    this.#request = request;
  }

  /** Errors: `STORE_LOCKED`, `STORE_CORRUPT`, `DISK_FULL`, `IO`, `MODEL_MISMATCH`, `ABORTED`, those of `loadModel`. */
  async *sync(): AsyncGenerator<WatchEvent, SyncOutcome> {
    const started = performance.now();
    const skips: Skip[] = [];
    const onSkip = (skip: Skip): void => void skips.push(skip);
    let datastore = await Datastore.open(this.#store, { documents: this.#table });
    try {
      this.#record ??= await readWatchRecord(this.#store);
      const seen = await look(
        { record: this.#record, table: datastore.documents, firstSeen: this.#firstSeen },
        {
          ...this.#request,
          pairs: pairsOf(datastore),
          folders: this.#folders,
          store: this.#store,
          onSkip,
        },
      );
      const plan = await planSync(seen, this.#record, datastore, onSkip);
      yield* this.#tell(skips);
      const changed = await this.#apply(plan, seen, datastore);
      if (changed) {
        const before = datastore;
        datastore = await Datastore.open(this.#store, { known: before });
        await before.close();
        const stored = storedIn(datastore);
        const seconds = (performance.now() - started) / 1000;
        yield { event: 'synced', ...changed, seconds, stored };
      }
      this.#table = datastore.documents;
      await this.#note(recordOf(seen, this.#record, plan.contested, datastore));
      if (changed) yield* this.#compact(datastore.manifest);
      return { ...outcomeOf(seen), hasChanged: changed !== undefined, stored: storedIn(datastore) };
    } finally {
      await datastore.close();
    }
  }

  /** @returns undefined when there was nothing to do */
  async #apply(
    plan: SyncPlan,
    seen: Look,
    datastore: Datastore,
  ): Promise<Omit<Synced, 'event' | 'seconds' | 'stored'> | undefined> {
    const { fresh, moved, gone, updated } = plan;
    if (fresh.size + moved.length + gone.length === 0) return undefined;
    const { signal, onWarning, onProgress, selfTune, index: choice } = this.#request;
    const options = {
      ...this.#request,
      pairs: pairsOf(datastore),
      model: () => this.#loadModel(),
    };
    const entries = await storeFresh(plan, seen, datastore, options);
    const removed = await removeGone(plan, datastore, options);
    const built = await keepIndexed(this.#store, { index: choice, onProgress, onWarning, signal });
    const index = builtIndex(built);
    const settings =
      fresh.size > 0
        ? await keepTuned(this.#store, await this.#loadModel(), {
            selfTune,
            onProgress,
            onWarning,
            signal,
          })
        : undefined;
    const ids = [...fresh.keys(), ...moved.map(({ to }) => to.id)];
    return {
      added: ids.filter((id) => !updated.has(id)),
      updated: [...updated],
      moved: moved.map(({ from, to }) => ({ from: from.id, to: to.id })),
      removed,
      entries,
      ...(index && { index }),
      ...(settings && { settings }),
    };
  }

  /** Loaded when it is first needed, and kept. A failure is forgotten. */
  #loadModel(): Promise<LanguageModel> {
    const { model, ...options } = this.#request;
    if (typeof model === 'object') return Promise.resolve(model);
    this.#model ??= readManifest(this.#store)
      .then((manifest) => loadStoreModel(manifest, { ...options, model }))
      .catch((error: unknown) => {
        this.#model = undefined;
        throw error;
      });
    return this.#model;
  }

  /** Keeps what was noted, here in any case. Another writer is not waited for: what is not noted is read again. */
  async #note(record: WatchRecord): Promise<void> {
    this.#record = record;
    try {
      await withLock(this.#store, async () => {
        const stored = await readWatchRecord(this.#store);
        const own = this.#folders.filter((path) => record[path]);
        const isSame = own.every((path) => same(stored[path], record[path]));
        if (isSame) return;
        const entries = own.map((path) => [path, record[path]]);
        await writeWatchRecord(this.#store, { ...stored, ...Object.fromEntries(entries) });
      });
    } catch (error) {
      if (!(error instanceof KnnLMError) || error.code !== 'STORE_LOCKED') throw error;
    }
  }

  async *#compact(manifest: Manifest): AsyncGenerator<WatchEvent> {
    const { compact = true, model, onProgress, onWarning, signal, selfTune } = this.#request;
    if (!compact || !isWorn(manifest)) return;
    const started = performance.now();
    const loaded = this.#model ? await this.#model : model;
    const { documents, entries, removedDocuments, segments } = await compactStore(this.#store, {
      model: loaded,
      selfTune,
      onWarning,
      onProgress: ({ doneBytes, totalBytes }) =>
        onProgress?.({ phase: 'compacting', done: doneBytes, total: totalBytes, unit: 'bytes' }),
      onIndexProgress: onProgress,
      signal,
    });
    // The note went with the removed documents, which it may have named; these files are there.
    await this.#note(this.#record!);
    const seconds = (performance.now() - started) / 1000;
    yield { event: 'compacted', documents, entries, removedDocuments, segments, seconds };
  }

  *#tell(skips: readonly Skip[]): Generator<WatchEvent> {
    const told = new Set<string>();
    for (const { source, reason } of skips) {
      const key = `${source}\n${reason}`;
      if (!this.#told.has(key) && !told.has(key)) yield { event: 'skipped', source, reason };
      told.add(key);
    }
    this.#told = told;
  }

  async close(): Promise<void> {
    const model = await this.#model?.catch(() => undefined);
    await model?.close();
  }
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** A store of pairs is fed with pairs. */
const pairsOf = ({ manifest: { pairs } }: Datastore) => (pairs ? {} : undefined);

const storedIn = ({ documents, liveEntries: entries }: Datastore) => ({
  documents: documents.live,
  entries,
});

function outcomeOf({
  files,
  folders,
  againInMs,
}: Look): Omit<SyncOutcome, 'hasChanged' | 'stored'> {
  const all = [...files.values()];
  const open = all.filter(({ state }) => state === 'open').map(({ seen }) => seen.file.path);
  const failed = all.filter(({ state }) => state === 'failed').length;
  const identities = folders.map(({ identity }) => identity).join();
  const isSomeAway = folders.some(({ isAway }) => isAway);
  return { againInMs, open, failed, files: all.length, identities, isSomeAway };
}

function isWorn(manifest: Manifest): boolean {
  const entries = entriesOf(manifest);
  const gone = entries - liveEntriesOf(manifest);
  return (
    manifest.segments.length > MOST_SEGMENTS ||
    gone > Math.max(MANY_GONE, entries * MANY_GONE_SHARE)
  );
}
