/**
 * A datastore's entries on Milvus, brought up to date: what was added is sent, what was removed is removed there, the index
 * is built and how it is searched is measured. Every step may be stopped or fail; the next call goes on from there.
 *
 *     partition made, written down → entries sent, removed ones removed → flushed, indexed, loaded → counted → measured →
 *     written down: from here on they are searched there → partitions of former builds dropped
 */
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Datastore } from '../datastore/datastore.ts';
import { readManifest } from '../datastore/manifest.ts';
import { withLock } from '../datastore/store-lock.ts';
import { ioError, KnnLMError } from '../errors.ts';
import { flattenRanges, includesId } from '../indexes/id-ranges.ts';
import { markSources, unindexedSources } from '../indexes/ivf/ivf-header.ts';
import {
  formatMilvusUrl,
  type MilvusUrl,
  parseMilvusUrl,
} from '../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../indexes/milvus/milvus-collection.ts';
import {
  type CallOptions,
  type MilvusAccess,
  MilvusConnection,
} from '../indexes/milvus/milvus-connection.ts';
import { inside, subtract } from '../indexes/milvus/milvus-filter.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  type MilvusSettings,
  newMilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../indexes/milvus/milvus-header.ts';
import { createPartition, firstId } from '../indexes/milvus/milvus-partition.ts';
import { indexPlans } from '../indexes/milvus/milvus-plan.ts';
import { type EntrySource, sendEntries } from '../indexes/milvus/send-entries.ts';
import type { IdRange } from '../math/vectors.ts';
import { indexFolder } from './index-folder.ts';
import type { IndexStoreRequest } from './index-store.ts';
import { mergeRanges } from './retriever.ts';
import { type MilvusTrial, tuneMilvus } from './tune-milvus.ts';

export interface MilvusStoreRequest
  extends Pick<
    IndexStoreRequest,
    'maxError' | 'memoryBytes' | 'threads' | 'onProgress' | 'signal'
  > {
  /** Default: where the store's entries are already. */
  url?: MilvusUrl;
  access?: MilvusAccess;
  /** How long a server that went away is waited for, in milliseconds. Default 60 s. */
  patienceMs?: number;
  /** Measure how it is searched though nothing has changed. */
  remeasure?: boolean;
  onWarning?: (message: string) => void;
}

/** Sends a store's entries to Milvus, or brings them up to date, and measures anew how they are searched. */
export async function indexOnMilvus(
  store: string,
  request: MilvusStoreRequest = {},
): Promise<MilvusStoreResult> {
  await readManifest(store);
  const result = await withLock(store, () => syncMilvus(store, { ...request, remeasure: true }));
  return result!;
}

export interface MilvusStoreResult {
  kind: 'milvus';
  /** Without the token. */
  url: string;
  /** Searched there. */
  entries: number;
  /** Sent and removed by this call. */
  sent: number;
  removed: number;
  index: { type: string; params: Record<string, number> };
  settings: MilvusSettings;
  /** Share of the true neighbors found with these settings. */
  recall: number;
  /** Mean |Δ log p| of the mixture, in nats. */
  error: number;
  /** False when no setting keeps the error below what was asked; the most exact one was taken. */
  reached: boolean;
  /** What was measured on the way; empty when what was measured before still holds. */
  trials: MilvusTrial[];
  /** What the server lacks. */
  notes: string[];
  seconds: number;
}

const PATIENCE_MS = 60_000;
/** Between two notes of how far the sending has come. */
const NOTE_MS = 2000;
const POLL_MS = 500;
const SAMPLES = 16;
/** Ranges removed by one expression. */
const RANGES_AT_ONCE = 256;
/** Ids of a datastore's entries are below this. */
const MOST_ENTRIES = 2 ** 31;
/** Measured anew when so many times the entries of the last time are there. */
const GROWTH = 1.25;

interface Work {
  store: string;
  folder: string;
  datastore: Datastore;
  collection: MilvusCollection;
  header: MilvusHeader;
  request: MilvusStoreRequest;
  calls: CallOptions;
}

/**
 * For who holds the store's lock.
 * @returns undefined when everything was as it should be
 * Errors: `INDEX_UNAVAILABLE` when the server stays away, `INVALID_ARGUMENT` for an address or a collection that does not
 * fit, `NO_DOCUMENTS`, `STORE_CORRUPT`, `IO`, `ABORTED`.
 */
export async function syncMilvus(
  store: string,
  request: MilvusStoreRequest,
): Promise<MilvusStoreResult | undefined> {
  const started = performance.now();
  const folder = indexFolder(store);
  const datastore = await Datastore.open(store);
  try {
    if (datastore.liveEntries === 0) {
      throw new KnnLMError(
        'NO_DOCUMENTS',
        `The datastore ${store} holds no entries yet. Build it first: knnlm build DOCS... --out ${store}`,
      );
    }
    const before = await readMilvusHeader(folder);
    const address = parseMilvusUrl(request.url ?? before?.url ?? '');
    const connection = new MilvusConnection(address, request.access);
    const collection = new MilvusCollection(connection);
    try {
      const calls: CallOptions = {
        patienceMs: request.patienceMs ?? PATIENCE_MS,
        onWait: (reason) =>
          request.onWarning?.(
            `Milvus at ${connection.server} is away (${reason}); waiting for it.`,
          ),
        signal: request.signal,
      };
      const parts = { store, folder, datastore, collection, request, calls };
      const known = before && (await isCurrent(before, parts)) ? before : undefined;
      if (known && !request.remeasure && isComplete(known, datastore)) return undefined;
      const header = known ?? (await begin(parts, before));
      const result = await bringUp({ ...parts, header });
      return { ...result, seconds: (performance.now() - started) / 1000 };
    } finally {
      await collection.close();
    }
  } finally {
    await datastore.close();
  }
}

/** Whether there is a server at an address. Errors: `INVALID_ARGUMENT`, `INDEX_UNAVAILABLE`. */
export async function greetMilvus(url: MilvusUrl, access?: MilvusAccess): Promise<void> {
  const connection = new MilvusConnection(parseMilvusUrl(url), access);
  try {
    await new MilvusCollection(connection).version();
  } finally {
    await connection.close();
  }
}

/** Whether what is written down is of this store's keys, at this address, and its partition still there. */
async function isCurrent(
  header: MilvusHeader,
  { datastore, collection, calls }: Omit<Work, 'header'>,
): Promise<boolean> {
  if (header.isStale || header.url !== formatMilvusUrl(collection.address)) return false;
  try {
    await unindexedSources(header, datastore.keySources(), datastore.keyDim);
  } catch (error) {
    if (error instanceof KnnLMError && error.code === 'STORE_CORRUPT') return false;
    throw error;
  }
  if (!(await collection.describe(calls))) return false;
  return (await collection.partitions(calls)).includes(header.partition.name);
}

const isComplete = (header: MilvusHeader, datastore: Datastore): boolean =>
  header.settings !== null &&
  header.entries === datastore.entries &&
  header.retired.length === 0 &&
  missingFrom(header.removed, datastore).length === 0;

/** Makes the collection where there is none, and a partition in it. */
async function begin(
  { folder, datastore, collection, calls }: Omit<Work, 'header'>,
  before: MilvusHeader | undefined,
): Promise<MilvusHeader> {
  const { keyDim: dim } = datastore;
  const { key } = datastore.header;
  const notes: string[] = [];
  let facts = await collection.describe(calls);
  if (!facts) {
    await collection.create(dim, key.dtype, (note) => notes.push(note));
    facts = (await collection.describe(calls))!;
  }
  const url = formatMilvusUrl(collection.address);
  if (facts.dim !== dim) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `The collection ${url} holds keys of ${facts.dim} dimensions, and this store's have ${dim}. Name another collection.`,
    );
  }
  const partition = await createPartition(collection, modelDigits(datastore));
  const retired = [...(before?.retired ?? [])];
  if (before) retired.push({ url: before.url, partition: before.partition.name });
  const header = newMilvusHeader({
    url,
    partition,
    dim,
    dtype: facts.dtype,
    sources: await markSources(datastore.keySources(), dim),
    notes,
    retired,
  });
  await writeMilvusHeader(folder, header);
  await removeLocalIndex(folder);
  return header;
}

/** What a query must have in common with the keys. */
function modelDigits({ header }: Datastore): string {
  const { provider: _, ...fingerprint } = header.fingerprint;
  const { key, window, stride } = header;
  const words = JSON.stringify([fingerprint, key.tensor, key.dim, window, stride]);
  return createHash('sha256').update(words).digest('hex').slice(0, 12);
}

async function bringUp(work: Work): Promise<Omit<MilvusStoreResult, 'seconds'>> {
  const { datastore, collection, calls, folder, request } = work;
  let { header } = work;
  const { sent: sentBefore } = header;
  header = await send({ ...work, header });
  const cleaned = await removeGone({ ...work, header });
  header = cleaned.header;
  await collection.flush(calls);
  header = { ...header, index: await ensureIndex({ ...work, header }) };
  await collection.load(calls);
  header = await checkCount({ ...work, header });
  const { entries } = datastore;
  const indexed: MilvusHeader = { ...header, entries };
  const measured = Number(header.evidence?.entries ?? 0);
  let trials: MilvusTrial[] = [];
  if (!header.settings || request.remeasure || entries > measured * GROWTH) {
    const tuned = await tuneMilvus(datastore, indexed, request);
    trials = tuned.trials;
    header = { ...header, settings: tuned.settings, evidence: tuned.evidence };
  }
  header = { ...header, entries, samples: await samplesOf(datastore) };
  await writeMilvusHeader(folder, header);
  header = await dropRetired({ ...work, header });
  const { evidence } = header;
  const number = (name: string): number => Number(evidence?.[name]);
  return {
    kind: 'milvus',
    url: header.url,
    entries,
    sent: header.sent - sentBefore,
    removed: cleaned.removed,
    index: header.index!,
    settings: header.settings!,
    recall: number('recall'),
    error: number('error'),
    reached: number('error') <= number('maxError'),
    trials,
    notes: header.notes,
  };
}

/** Sends what was not yet; what was removed before is not sent at all. */
async function send(work: Work): Promise<MilvusHeader> {
  const { datastore, collection, calls, folder, request } = work;
  const { entries, keyDim } = datastore;
  let { header } = work;
  if (header.sent >= entries) return header;
  const gone = datastore.excludedRanges();
  const range: IdRange = [header.sent, entries];
  const unsent = clipped(gone, range);
  header = {
    ...header,
    sources: await markSources(datastore.keySources(), keyDim),
    removed: mergeRanges([...header.removed, ...unsent]),
  };
  await writeMilvusHeader(folder, header);
  let noted = performance.now();
  let writing: Promise<void> = Promise.resolve();
  try {
    await sendEntries(
      collection,
      header,
      { source: entrySource(datastore), range, removed: gone },
      {
        ...calls,
        onSent: async (sent) => {
          header = { ...header, sent };
          request.onProgress?.({ phase: 'sending', done: sent, total: entries, unit: 'entries' });
          if (performance.now() - noted < NOTE_MS) return;
          noted = performance.now();
          const now = header;
          writing = writing.then(() => writeMilvusHeader(folder, now));
          await writing;
        },
      },
    );
  } catch (error) {
    await writing;
    await writeMilvusHeader(folder, header);
    if (!(error instanceof KnnLMError) || error.code !== 'INDEX_UNAVAILABLE') throw error;
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${error.message} ${header.sent} of ${entries} entries have arrived; the same command again goes on from there.`,
      { cause: error },
    );
  }
  await writing;
  await writeMilvusHeader(folder, header);
  return header;
}

function entrySource(datastore: Datastore): EntrySource {
  return {
    sources: datastore.keySources(),
    values: ([start, end]) => datastore.valueRange(start, end),
    document: (entry) => {
      const { id, start, length } = datastore.documents.locate(entry).document;
      return { id, end: start + length };
    },
  };
}

/** Removes from the server what was removed here since. */
async function removeGone(work: Work): Promise<{ header: MilvusHeader; removed: number }> {
  const { datastore, folder } = work;
  let { header } = work;
  const ranges = missingFrom(header.removed, datastore);
  if (ranges.length === 0) return { header, removed: 0 };
  await removeRanges(work, ranges);
  header = { ...header, removed: mergeRanges([...header.removed, ...ranges]) };
  await writeMilvusHeader(folder, header);
  return { header, removed: ranges.reduce((sum, [start, end]) => sum + end - start, 0) };
}

/** To remove what is not there changes nothing. */
async function removeRanges(
  { collection, header, calls }: Work,
  ranges: readonly IdRange[],
): Promise<void> {
  const { name } = header.partition;
  const first = firstId(header.partition);
  for (let i = 0; i < ranges.length; i += RANGES_AT_ONCE)
    await collection.remove(name, inside(ranges.slice(i, i + RANGES_AT_ONCE), first), calls);
}

/** Removed entries that the server still has. */
function missingFrom(removed: readonly IdRange[], datastore: Datastore): IdRange[] {
  const { entries } = datastore;
  const gone = flattenRanges(mergeRanges(datastore.excludedRanges()), entries);
  const left = subtract(gone, flattenRanges(removed, entries));
  return Array.from({ length: left.length / 2 }, (_, r) => [left[2 * r]!, left[2 * r + 1]!]);
}

const clipped = (ranges: readonly IdRange[], [start, end]: IdRange): IdRange[] =>
  ranges
    .map(([from, to]): IdRange => [Math.max(from, start), Math.min(to, end)])
    .filter(([from, to]) => from < to);

/** The collection's index, or the first that fits the entries and the server has; returns when it holds all rows. */
async function ensureIndex(work: Work): Promise<NonNullable<MilvusHeader['index']>> {
  const { datastore, collection, calls, header, request } = work;
  const existing = await collection.index(calls);
  let chosen = existing && { type: existing.type, params: numbersOf(existing.params) };
  if (!chosen) {
    const bytes = datastore.keyDim * (header.dtype === 'fp16' ? 2 : 4);
    const wanted = request.url === undefined ? undefined : parseMilvusUrl(request.url).indexType;
    const refusals: string[] = [];
    for (const { type, params } of indexPlans(datastore.entries, bytes, wanted)) {
      const refusal = await collection.createIndex(type, params);
      if (refusal === undefined) {
        chosen = { type, params };
        break;
      }
      refusals.push(`${type}: ${refusal}`);
      header.notes.push(`the server has no ${type} index (${refusal})`);
    }
    if (!chosen) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Milvus at ${collection.connection.server} builds none of the indexes that fit (${refusals.join('; ')}). Ask for another: ${header.url}?index=IVF_FLAT`,
      );
    }
  }
  for (;;) {
    if (request.signal?.aborted) throw new KnnLMError('ABORTED', 'The indexing was stopped.');
    const pending = (await collection.index(calls))?.pending ?? 0;
    if (pending === 0) return chosen;
    const { entries: total } = datastore;
    request.onProgress?.({
      phase: 'indexing',
      done: Math.max(0, total - pending),
      total,
      unit: 'entries',
    });
    await sleep(POLL_MS);
  }
}

const numbersOf = (params: Record<string, unknown>): Record<string, number> =>
  Object.fromEntries(
    Object.entries(params).flatMap(([name, value]) => {
      const number = typeof value === 'number' || value !== '' ? Number(value) : Number.NaN;
      return Number.isFinite(number) ? [[name, number]] : [];
    }),
  );

/** That every entry is there once. When some are missing, all are sent again, once. */
async function checkCount(work: Work, isSecond = false): Promise<MilvusHeader> {
  const { datastore, collection, calls, header } = work;
  const first = firstId(header.partition);
  const { entries } = datastore;
  const found = await collection.count(header.partition.name, first, first + entries, calls);
  const gone = header.removed.reduce((sum, [start, end]) => sum + end - start, 0);
  if (found === entries - gone) return header;
  if (isSecond) {
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${header.url} holds ${found} entries of this store after ${entries - gone} were sent twice. Somebody else may be writing to the partition ${header.partition.name}.`,
    );
  }
  work.request.onWarning?.(
    `${header.url} held ${found} of ${entries - gone} entries; they are sent again.`,
  );
  const again = await send({ ...work, header: { ...header, sent: 0, removed: [] } });
  // Rows that should not be there are removed once more too.
  await removeRanges(work, [...again.removed, [entries, MOST_ENTRIES]]);
  await collection.flush(calls);
  return await checkCount({ ...work, header: again }, true);
}

/** Some entries, spread evenly over those that are left. */
async function samplesOf(datastore: Datastore): Promise<MilvusHeader['samples']> {
  const { entries } = datastore;
  const gone = flattenRanges(mergeRanges(datastore.excludedRanges()), entries);
  const picked = Array.from({ length: SAMPLES }, (_, i) =>
    Math.floor(((i + 0.5) * entries) / SAMPLES),
  ).filter((entry, i, all) => !includesId(gone, entry) && all.indexOf(entry) === i);
  const values = await datastore.values(Int32Array.from(picked));
  return picked.map((entry, i) => ({ entry, value: values[i]! }));
}

/** Partitions of former builds; one whose server is away stays on the list. */
async function dropRetired({ folder, header, collection, request }: Work): Promise<MilvusHeader> {
  if (header.retired.length === 0) return header;
  const left: MilvusHeader['retired'] = [];
  for (const old of header.retired) {
    try {
      await dropPartition(old, collection, request.access);
    } catch (error) {
      left.push(old);
      request.onWarning?.(
        `the partition ${old.partition} of ${old.url} is still there: ${(error as Error).message}`,
      );
    }
  }
  const now = { ...header, retired: left };
  await writeMilvusHeader(folder, now);
  return now;
}

async function dropPartition(
  { url, partition }: MilvusHeader['retired'][number],
  open: MilvusCollection | undefined,
  access: MilvusAccess | undefined,
): Promise<void> {
  if (open && formatMilvusUrl(open.address) === url) return await open.dropPartition(partition);
  const other = new MilvusCollection(new MilvusConnection(parseMilvusUrl(url), access));
  try {
    await other.dropPartition(partition);
  } finally {
    await other.close();
  }
}

/** The inverted file that lay here. */
async function removeLocalIndex(folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (name === MILVUS_FILE) continue;
    const path = join(folder, name);
    await rm(path, { force: true, recursive: true }).catch((cause) => {
      throw ioError('remove', path, cause);
    });
  }
}

/**
 * Takes entries that were removed here off the server, at once. They are retrieved no more in any case; a server that is
 * away is told so, and the entries go with the next `syncMilvus`.
 */
export async function removeFromMilvus(
  store: string,
  { access, onWarning }: Pick<MilvusStoreRequest, 'access' | 'onWarning'> = {},
): Promise<void> {
  const folder = indexFolder(store);
  if (!(await readMilvusHeader(folder))) return;
  try {
    await withLock(store, async () => {
      const header = await readMilvusHeader(folder);
      if (!header || header.isStale) return;
      const datastore = await Datastore.open(store);
      const address = parseMilvusUrl(header.url);
      const collection = new MilvusCollection(new MilvusConnection(address, access));
      try {
        await removeGone({ store, folder, datastore, collection, header, request: {}, calls: {} });
      } finally {
        await Promise.all([collection.close(), datastore.close()]);
      }
    });
  } catch (error) {
    if (!(error instanceof KnnLMError)) throw error;
    onWarning?.(
      `Milvus still holds what was removed, though nothing of it is retrieved: ${error.message} It goes with the next change, or with: knnlm compact ${store}`,
    );
  }
}

/** After a local index was built: what is on the server is dropped, if it can be reached. */
export async function leaveMilvus(
  store: string,
  onWarning?: (message: string) => void,
): Promise<void> {
  const folder = indexFolder(store);
  const header = await readMilvusHeader(folder);
  if (!header) return;
  await rm(join(folder, MILVUS_FILE), { force: true });
  for (const old of [{ url: header.url, partition: header.partition.name }, ...header.retired]) {
    try {
      await dropPartition(old, undefined, undefined);
    } catch (error) {
      onWarning?.(
        `the partition ${old.partition} of ${old.url} is still there: ${(error as Error).message}`,
      );
    }
  }
}
