/**
 * A datastore's entries on Milvus, brought up to date: what was added is sent, what was removed is removed there, the index
 * is built and how it is searched is measured. Every step may be stopped or fail; the next call goes on from there.
 *
 *     partition made, written down → entries sent, removed ones removed → flushed, indexed, loaded → counted → measured →
 *     written down: from here on they are searched there → published for other machines → partitions of former builds dropped
 */
import { createHash } from 'node:crypto';
import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Datastore } from '../../datastore/datastore.ts';
import { readManifest } from '../../datastore/manifest.ts';
import { withLock } from '../../datastore/store-lock.ts';
import { entriesElsewhere } from '../../datastore/value-source.ts';
import { ioError, KnnLMError } from '../../errors.ts';
import { flattenRanges, includesId } from '../../indexes/id-ranges.ts';
import { markSources, unindexedSources } from '../../indexes/ivf/ivf-header.ts';
import {
  formatMilvusUrl,
  type MilvusUrl,
  parseMilvusUrl,
} from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import {
  type CallOptions,
  type MilvusAccess,
  MilvusConnection,
} from '../../indexes/milvus/milvus-connection.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  newMilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { createPartition } from '../../indexes/milvus/milvus-partition.ts';
import { indexFolder } from '../index-folder.ts';
import { mergeRanges } from '../retriever.ts';
import { ensureIndex } from './ensure-index.ts';
import { leaveToMilvus } from './leave-entries.ts';
import { dropRetired } from './leave-milvus.ts';
import { checkCount, missingFrom, removeGone, send } from './match-entries.ts';
import { publish } from './publish-store.ts';
import { tuneMilvus } from './tune-milvus.ts';
import type { MilvusStoreRequest, MilvusStoreResult, MilvusTrial, Work } from './types.ts';

const PATIENCE_MS = 60_000;
const SAMPLES = 16;
/** Measured anew when so many times the entries of the last time are there. */
const GROWTH = 1.25;

/** Sends a store's entries to Milvus, or brings them up to date, and measures anew how they are searched. */
export async function indexOnMilvus(
  store: string,
  request: MilvusStoreRequest = {},
): Promise<MilvusStoreResult> {
  await readManifest(store);
  const result = await withLock(store, () => syncMilvus(store, { ...request, remeasure: true }));
  if (request.values === 'remote') await leaveToMilvus(store, request);
  return result!;
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
      if (datastore.remote && (!known || request.remeasure)) throw entriesElsewhere(store);
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
    await unindexedSources(header, datastore.ownKeySources(), datastore.keyDim);
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
  header = { ...header, entries, samples: await samplesOf({ ...work, header }) };
  await writeMilvusHeader(folder, header);
  // Before the partition goes that other machines may have been searching until now.
  await publish({ ...work, header });
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

/** Some entries, spread evenly over those that are left; those of before where the server alone has them. */
async function samplesOf({ datastore, header }: Work): Promise<MilvusHeader['samples']> {
  const { entries } = datastore;
  if (datastore.remote) return header.samples;
  const gone = flattenRanges(mergeRanges(datastore.excludedRanges()), entries);
  const picked = Array.from({ length: SAMPLES }, (_, i) =>
    Math.floor(((i + 0.5) * entries) / SAMPLES),
  ).filter((entry, i, all) => !includesId(gone, entry) && all.indexOf(entry) === i);
  const values = await datastore.values(Int32Array.from(picked));
  return picked.map((entry, i) => ({ entry, value: values[i]! }));
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
