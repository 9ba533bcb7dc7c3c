/** Whether Milvus holds what the datastore thinks it does. */
import { join } from 'node:path';
import type { Datastore } from '../../datastore/datastore.ts';
import { KnnLMError } from '../../errors.ts';
import { unindexedSources } from '../../indexes/ivf/ivf-header.ts';
import { parseMilvusUrl } from '../../indexes/milvus/milvus-address.ts';
import { MilvusCollection } from '../../indexes/milvus/milvus-collection.ts';
import { type CallOptions, MilvusConnection } from '../../indexes/milvus/milvus-connection.ts';
import {
  MILVUS_FILE,
  type MilvusHeader,
  readMilvusHeader,
} from '../../indexes/milvus/milvus-header.ts';
import { firstId } from '../../indexes/milvus/milvus-partition.ts';
import { indexFolder } from '../index-folder.ts';

export interface Problem {
  file: string;
  problem: string;
}

/** @returns what is wrong; undefined for a store that is not searched there. Errors: `ABORTED`, `IO`. */
export async function verifyMilvus(
  datastore: Datastore,
  calls: CallOptions,
): Promise<Problem[] | undefined> {
  const folder = indexFolder(datastore.path);
  try {
    const header = await readMilvusHeader(folder);
    if (!header) return undefined;
    await unindexedSources(header, datastore.ownKeySources(), datastore.keyDim);
    const problem = await compare(header, calls);
    return problem === undefined ? [] : [{ file: header.url, problem }];
  } catch (error) {
    if (!(error instanceof KnnLMError) || error.code === 'ABORTED') throw error;
    return [{ file: join(folder, MILVUS_FILE), problem: error.message }];
  }
}

async function compare(header: MilvusHeader, calls: CallOptions): Promise<string | undefined> {
  if (header.entries === 0) return undefined;
  const { partition, entries, removed, samples } = header;
  const collection = new MilvusCollection(new MilvusConnection(parseMilvusUrl(header.url)));
  try {
    if (!(await collection.describe(calls))) return 'the collection is not there';
    if (!(await collection.partitions(calls)).includes(partition.name))
      return `the partition ${partition.name} is not there`;
    await collection.load(calls);
    const first = firstId(partition);
    const gone = removed.reduce((sum, [start, end]) => sum + end - start, 0);
    const found = await collection.count(partition.name, first, first + entries, calls);
    if (found !== entries - gone) return `it holds ${found} of ${entries - gone} entries`;
    const values = await collection.values(
      partition.name,
      samples.map(({ entry }) => first + entry),
    );
    const others = samples.filter(({ entry, value: stored }) => {
      const value = values.get(first + entry);
      return value !== undefined && value !== stored;
    });
    if (others.length > 0) return `${others.length} of ${samples.length} entries are others`;
    return undefined;
  } finally {
    await collection.close();
  }
}
