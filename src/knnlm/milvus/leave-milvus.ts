/** Partitions that are searched no more are dropped: those of former builds, and a store's own when it gets a local index. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { formatMilvusUrl, parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { type MilvusAccess, MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  readMilvusHeader,
  writeMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { partitionOf } from '../../indexes/milvus/milvus-partition.ts';
import { MilvusStores } from '../../indexes/milvus/milvus-stores.ts';
import { indexFolder } from '../index-folder.ts';
import type { Work } from './types.ts';

/** Partitions of former builds; one whose server is away stays on the list. */
export async function dropRetired({
  folder,
  header,
  collection,
  request,
}: Work): Promise<MilvusHeader> {
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
  if (open && formatMilvusUrl(open.address) === url) return await dropFrom(open, partition);
  const other = new MilvusCollection(new MilvusConnection(parseMilvusUrl(url), access));
  try {
    await dropFrom(other, partition);
  } finally {
    await other.close();
  }
}

/** What other machines open it by goes first. */
async function dropFrom(collection: MilvusCollection, name: string): Promise<void> {
  const partition = partitionOf(name);
  if (partition) await new MilvusStores(collection.connection).remove(partition);
  await collection.dropPartition(name);
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
