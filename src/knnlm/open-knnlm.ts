/** Opens datastores with the model that made their keys. */
import { Datastore } from '../datastore/datastore.ts';
import { modelDifference } from '../datastore/manifest.ts';
import { KnnLMError } from '../errors.ts';
import { isMilvusUrl } from '../indexes/milvus/milvus-address.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { KnnLM } from './knnlm.ts';
import { loadStoreModel, type StoreModelOptions } from './load-store-model.ts';
import { openRemoteValues } from './milvus/remote-values.ts';
import { StoreMirror } from './milvus/store-mirror.ts';
import { openStoreIndex } from './open-store-index.ts';
import { OpenStores, storeNames } from './open-stores.ts';
import { type OpenStoreIndex, Snapshot } from './snapshot.ts';

export interface OpenOptions extends StoreModelOptions {
  /** Bytes of memory the index may use. */
  memoryBytes?: number;
}

/**
 * Opens a datastore with the model it was built with, or several of one model, to be searched as one.
 * @param stores folders, or addresses of collections on Milvus (`milvus://host:port/collection`), whose stores can be searched and
 *   not changed; in requests and results each has the name of its folder
 * Errors: `INDEX_UNAVAILABLE`, `STORE_NOT_FOUND`, `STORE_CORRUPT`, `STORE_VERSION`, `MODEL_NOT_FOUND`, `MODEL_MISMATCH`, `NO_DOCUMENTS`, `INVALID_ARGUMENT`.
 */
export async function openKnnLM(
  stores: string | readonly string[],
  options: OpenOptions = {},
): Promise<KnnLM> {
  const given = typeof stores === 'string' ? [stores] : stores;
  const urls = given.filter(isMilvusUrl);
  const mirrors = await openAll(
    urls,
    (url) => StoreMirror.open(url, { signal: options.signal }),
    (mirror) => mirror.close(),
  );
  try {
    return await openFolders(given, mirrors, options);
  } catch (error) {
    await Promise.all(mirrors.map((mirror) => mirror.close()));
    throw error;
  }
}

/** @param mirrors of those that are addresses */
async function openFolders(
  given: readonly string[],
  mirrors: readonly StoreMirror[],
  options: OpenOptions,
): Promise<KnnLM> {
  const mirrorOf = (store: string) => mirrors.find(({ url }) => url === store);
  const names = storeNames(given.map((store) => mirrorOf(store)?.name ?? store));
  const paths = given.map((store) => mirrorOf(store)?.path ?? store);
  const open = (path: string) =>
    Datastore.open(path, {
      openValues: (store) => openRemoteValues(store),
    });
  const datastores = await openAll(paths, open, closeOne);
  const all = datastores.reduce((sum, { entries }) => sum + entries, 0);
  let model: LanguageModel;
  try {
    checkNotEmpty(datastores, given);
    checkComparable(datastores, given);
    model = await loadStoreModel(datastores[0]!.manifest, options);
  } catch (error) {
    await Promise.all(datastores.map(closeOne));
    throw error;
  }
  // Each has the share of its entries.
  const openOne: OpenStoreIndex = (current) =>
    openStoreIndex(current, options.memoryBytes && (options.memoryBytes * current.entries) / all);
  try {
    const openSnapshot = (datastore: Datastore) =>
      Snapshot.open(datastore, openOne, given[paths.indexOf(datastore.path)]);
    const snapshots = await openAll(datastores, openSnapshot, (snapshot) => snapshot.release());
    return new KnnLM({
      open: new OpenStores(names, snapshots),
      model,
      openIndex: openOne,
      mirrors,
    });
  } catch (error) {
    await model.close();
    throw error;
  }
}

/** Opens one after another of all, or none: what was opened is closed again when one fails. */
async function openAll<Item, Opened>(
  items: readonly Item[],
  open: (item: Item) => Promise<Opened>,
  close: (opened: Opened) => Promise<void>,
): Promise<Opened[]> {
  const turns = await Promise.allSettled(items.map(open));
  const failed = turns.find((turn) => turn.status === 'rejected');
  const opened = turns.flatMap((turn) => (turn.status === 'fulfilled' ? [turn.value] : []));
  if (!failed) return opened;
  await Promise.all(opened.map(close));
  throw failed.reason;
}

const closeOne = (datastore: Datastore): Promise<void> => datastore.close();

/** @param shown folders or addresses, for the error */
function checkNotEmpty(datastores: readonly Datastore[], shown: readonly string[]): void {
  if (datastores.some(({ liveEntries }) => liveEntries > 0)) return;
  const { complete } = datastores[0]!;
  const path = shown[0]!;
  throw new KnnLMError(
    'NO_DOCUMENTS',
    complete
      ? `The datastore ${path} holds no documents. Add some: knnlm add ${path} DOCS...`
      : `The datastore ${path} holds no entries yet. Build it first: knnlm build DOCS... --out ${path}`,
  );
}

/** Errors: `MODEL_MISMATCH`, `INVALID_ARGUMENT`, when queries made for the first would mean something else in another. */
function checkComparable(
  [first, ...others]: readonly Datastore[],
  [path, ...paths]: readonly string[],
): void {
  const { header } = first!;
  for (const [i, other] of others.entries()) {
    const difference = modelDifference(header, other.header);
    if (difference) {
      const { what, values } = difference;
      throw new KnnLMError(
        'MODEL_MISMATCH',
        `${path} and ${paths[i]} cannot be searched together, since their models differ: the ${what} is ${values[0]} (${header.model.name}) in the one and ${values[1]} (${other.header.model.name}) in the other. Build one of them again with the other's model.`,
      );
    }
    const { window, stride } = other.header;
    if (window === header.window && stride === header.stride) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${path} and ${paths[i]} cannot be searched together, since their contexts were cut differently: window ${header.window} and stride ${header.stride} in the one, ${window} and ${stride} in the other. Build one of them again with the other's.`,
    );
  }
}
