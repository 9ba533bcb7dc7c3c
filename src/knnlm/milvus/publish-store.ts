/**
 * A datastore's small files beside its entries on Milvus: manifest, documents, and how the collection is searched. With them any
 * machine opens the store by the collection's address (`store-mirror.ts`).
 */
import { basename, relative, resolve } from 'node:path';
import { Datastore } from '../../datastore/datastore.ts';
import { pathKind, readWhole } from '../../datastore/files.ts';
import { manifestText } from '../../datastore/manifest.ts';
import { segmentPart } from '../../datastore/segment.ts';
import { withLock } from '../../datastore/store-lock.ts';
import type { SettingsRecord } from '../../datastore/types.ts';
import { KnnLMError } from '../../errors.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  milvusHeaderText,
  readMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { MilvusStores, type StoreFile } from '../../indexes/milvus/milvus-stores.ts';
import { indexFolder } from '../index-folder.ts';
import type { MilvusStoreRequest, Work } from './types.ts';

/**
 * Publishes a store that is searched on Milvus; any other is passed over. Takes the store's lock. What cannot be published is a
 * warning: nothing is lost, and this machine has it.
 */
export async function publishStore(
  store: string,
  { access, onWarning }: Pick<MilvusStoreRequest, 'access' | 'onWarning'> = {},
): Promise<void> {
  const folder = indexFolder(store);
  if (!(await readMilvusHeader(folder))) return;
  const request: MilvusStoreRequest = { onWarning };
  await orWarning(store, request, () =>
    withLock(store, async () => {
      const header = await readMilvusHeader(folder);
      if (!header) return;
      const datastore = await Datastore.open(store);
      const connection = new MilvusConnection(parseMilvusUrl(header.url), access);
      const collection = new MilvusCollection(connection);
      try {
        await publish({ store, folder, datastore, collection, header, request, calls: {} });
      } finally {
        await Promise.all([collection.close(), datastore.close()]);
      }
    }),
  );
}

/** Settings that were found, kept in the store and told to other machines. Errors: `STORE_LOCKED`. */
export async function keepSettings(
  datastore: Datastore,
  settings: SettingsRecord,
  onWarning?: (message: string) => void,
): Promise<void> {
  await datastore.updateSettings(settings);
  await publishStore(datastore.path, { onWarning });
}

/** For who holds the store's lock. What is not whole yet is left as it was published last. */
export async function publish(work: Work): Promise<void> {
  const { store, datastore, collection, header, request, calls } = work;
  const { building } = datastore.manifest;
  if (building || !header.settings || header.entries < datastore.entries) return;
  const { partition, retired } = header;
  const name = basename(resolve(store));
  const replaces = retired.map((old) => old.partition);
  await orWarning(store, request, async () => {
    const files = await filesOf(datastore, header);
    const stores = new MilvusStores(collection.connection);
    // Who asks for it expressly wants what is there to be right.
    const anew = request.remeasure;
    await stores.publish({ name, partition, replaces }, files, { ...calls, anew });
  });
}

async function orWarning(
  store: string,
  { onWarning }: MilvusStoreRequest,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    onWarning?.(
      `machines that open the store by its address do not have this state of it: ${error.message} They get it with the next change, or with: knnlm index ${store}`,
    );
  }
}

/** As they are for who has no keys and values of it. */
async function filesOf(datastore: Datastore, header: MilvusHeader): Promise<StoreFile[]> {
  const { path } = datastore;
  const manifest = { ...datastore.manifest, remote: true as const };
  const files: StoreFile[] = [];
  for (const segment of manifest.segments) {
    const documents = segmentPart(path, manifest, segment, 'documents').path;
    for (const file of [documents, `${documents}.crc`]) {
      if ((await pathKind(file)) !== 'file') continue;
      const name = relative(path, file).replaceAll('\\', '/');
      files.push({ name, bytes: await readWhole(file) });
    }
  }
  const text = milvusHeaderText({ ...header, sources: [], retired: [] });
  files.push({ name: `index/${MILVUS_FILE}`, bytes: Buffer.from(text) });
  files.push({ name: 'manifest.json', bytes: Buffer.from(manifestText(manifest)) });
  return files;
}
