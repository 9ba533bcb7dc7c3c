/** Removal on the server, right after the removal here. */
import { Datastore } from '../../datastore/datastore.ts';
import { withLock } from '../../datastore/store-lock.ts';
import { KnnLMError } from '../../errors.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import { readMilvusHeader } from '../../indexes/milvus/milvus-header.ts';
import { indexFolder } from '../index-folder.ts';
import { removeGone } from './match-entries.ts';
import { publish } from './publish-store.ts';
import type { MilvusStoreRequest } from './types.ts';

/**
 * Takes entries that were removed here off the server, at once, and tells other machines. They are retrieved no more in any case; a server that is
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
        const work = { store, folder, datastore, collection, request: { onWarning }, calls: {} };
        await publish({ ...work, ...(await removeGone({ ...work, header })) });
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
