/**
 * A collection of entries on Milvus (`milvus-schema.ts`), and what can be done with it. One collection serves any number of
 * datastores of one model, each in a partition of its own (`milvus-partition.ts`).
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { KnnLMError } from '../../errors.ts';
import type { ClientHit } from './hits.ts';
import { formatMilvusUrl, type MilvusAddress } from './milvus-address.ts';
import {
  type CallOptions,
  isSuccess,
  type MilvusConnection,
  statusOf,
} from './milvus-connection.ts';
import {
  type CollectionFacts,
  type EntryRow,
  factsOf,
  halves,
  newSchema,
  type RemoteIndex,
  remoteIndexOf,
  startOf,
  type VectorDtype,
} from './milvus-schema.ts';
import type { Sdk } from './milvus-sdk.ts';

/** Milvus' own limits. */
export const MOST_NEIGHBORS = 16_384;
const MOST_DIM = 32_768;

const LITE = /lite/i;
const LOAD_PAUSE_MS = 20;
/** Rows counted in one query by a server that reads them whole. */
const LITE_COUNT_ROWS = 20_000;

export interface SearchRequest {
  partition: string;
  /** Each (d). */
  queries: Float32Array[];
  dtype: VectorDtype;
  limit: number;
  filter: string;
  params: Record<string, number>;
  /** Whether the neighbors' keys are wanted too: 2 d bytes of each. */
  withKeys?: boolean;
}

export class MilvusCollection {
  readonly connection: MilvusConnection;
  readonly name: string;
  #version: string | undefined;

  constructor(connection: MilvusConnection, name = connection.address.collection) {
    this.connection = connection;
    this.name = name;
  }

  get address(): MilvusAddress {
    return this.connection.address;
  }

  /** The server's own word, such as `v2.6.3`. */
  async version(): Promise<string> {
    if (this.#version === undefined) {
      const { version } = await this.connection.call('tell its version', (c) => c.getVersion());
      this.#version = version;
    }
    return this.#version;
  }

  /** Milvus Lite compares a batch of queries with all keys at once and reads whole rows to count them. */
  async isLite(): Promise<boolean> {
    return LITE.test(await this.version());
  }

  /** Undefined when there is none. Errors: `INVALID_ARGUMENT` when it holds something else. */
  async describe(options?: CallOptions): Promise<CollectionFacts | undefined> {
    const { connection, name: collection_name } = this;
    const has = await connection.call(
      'look for the collection',
      (c) => c.hasCollection({ collection_name }),
      options,
    );
    if (!has.value) return undefined;
    const { schema } = await connection.call(
      'describe the collection',
      (c) => c.describeCollection({ collection_name }),
      options,
    );
    const facts = factsOf(schema);
    if (!facts) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `The collection ${formatMilvusUrl(this.address)} holds something else: its fields are ${schema.fields.map(({ name }) => name).join(', ')}, not id, document, value and key. Name another collection.`,
      );
    }
    return facts;
  }

  /** Makes it, with the vectors that were wanted where the server has them. Errors: `INVALID_ARGUMENT`, `INDEX_UNAVAILABLE`. */
  async create(dim: number, wanted: VectorDtype, onNote: (note: string) => void): Promise<void> {
    if (dim > MOST_DIM) {
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        `Milvus holds vectors of at most ${MOST_DIM} dimensions, and these keys have ${dim}. Use a local index: --index ivf`,
      );
    }
    if (wanted === 'fp16') {
      try {
        return await this.#create(dim, 'fp16');
      } catch (error) {
        const refused = error instanceof KnnLMError && /float16/i.test(error.message);
        if (!refused) throw error;
        onNote('the server has no float16 vectors: keys are float32 there, twice the size');
      }
    }
    await this.#create(dim, 'fp32');
  }

  async #create(dim: number, dtype: VectorDtype): Promise<void> {
    await this.connection.call('create the collection', (client, sdk) =>
      client.createCollection({
        collection_name: this.name,
        ...newSchema(sdk, { dim, dtype }),
        consistency_level: 'Bounded',
      }),
    );
  }

  async partitions(options?: CallOptions): Promise<string[]> {
    const { partition_names: names } = await this.connection.call(
      'list the partitions',
      (c) => c.showPartitions({ collection_name: this.name }),
      options,
    );
    return names;
  }

  async createPartition(partition_name: string): Promise<void> {
    await this.connection.call('create a partition', (c) =>
      c.createPartition({ collection_name: this.name, partition_name }),
    );
  }

  /** One that is not there is passed over. */
  async dropPartition(partition_name: string): Promise<void> {
    const { name: collection_name } = this;
    if (!(await this.describe()) || !(await this.partitions()).includes(partition_name)) return;
    await this.connection.call('release a partition', (c) =>
      c.releasePartitions({ collection_name, partition_names: [partition_name] }),
    );
    await this.connection.call('drop a partition', (c) =>
      c.dropPartition({ collection_name, partition_name }),
    );
  }

  /** Rows that are there already are replaced: the same batch again changes nothing. */
  async upsert(partition: string, rows: readonly EntryRow[], options: CallOptions): Promise<void> {
    const data = rows.map((row) => ({ ...row, document: startOf(row.document) }));
    await this.connection.call(
      'store entries',
      (c) =>
        c.upsert({
          collection_name: this.name,
          partition_name: partition,
          // The client's type knows plain arrays only; it takes typed ones as they are.
          data: data as unknown as Sdk.RowData[],
        }),
      options,
    );
  }

  async remove(partition: string, filter: string, options: CallOptions): Promise<void> {
    await this.connection.call(
      'remove entries',
      (c) => c.delete({ collection_name: this.name, partition_name: partition, filter }),
      options,
    );
  }

  /** Closes the segments that grow, so that they get their index. */
  async flush(options: CallOptions): Promise<void> {
    await this.connection.call(
      'flush the collection',
      (c) => c.flushSync({ collection_names: [this.name] }),
      options,
    );
  }

  /** Loads what is not in the query nodes' memory yet; none of it is searched otherwise. */
  async load(options?: CallOptions): Promise<void> {
    const { connection, name: collection_name } = this;
    const request = { collection_name };
    await connection.call('load the collection', (c) => c.loadCollectionAsync(request), options);
    for (let pause = LOAD_PAUSE_MS; ; pause = Math.min(1000, 2 * pause)) {
      const { state } = await connection.call(
        'load the collection',
        (c) => c.getLoadState(request),
        options,
      );
      if (`${state}` === 'LoadStateLoaded') return;
      await sleep(pause);
    }
  }

  /** Rows with ids from `start` up to `end`, as every replica will soon see them. */
  async count(
    partition: string,
    start: number,
    end: number,
    options: CallOptions,
  ): Promise<number> {
    const step = (await this.isLite()) ? LITE_COUNT_ROWS : end - start;
    let rows = 0;
    for (let from = start; from < end; from += step) {
      const filter = `id >= ${from} and id < ${Math.min(end, from + step)}`;
      const [row] = await this.query(partition, filter, ['count(*)'], options);
      rows += Number(row?.['count(*)'] ?? 0);
    }
    return rows;
  }

  /** The values of some rows by their ids; those that are not there are left out. */
  async values(partition: string, ids: readonly number[]): Promise<Map<number, number>> {
    if (ids.length === 0) return new Map();
    const rows = await this.query(partition, `id in [${ids.join(', ')}]`, ['id', 'value']);
    return new Map(rows.map(({ id, value }) => [Number(id), Number(value)]));
  }

  /** (d) each: the keys of some rows by their ids; those that are not there are left out. */
  async keys(partition: string, ids: readonly number[]): Promise<Map<number, ArrayLike<number>>> {
    if (ids.length === 0) return new Map();
    const rows = await this.query(partition, `id in [${ids.join(', ')}]`, ['id', 'key']);
    return new Map(rows.map(({ id, key }) => [Number(id), key as ArrayLike<number>]));
  }

  /** @returns (queries) rows of hits, nearest first */
  async search(request: SearchRequest, options: CallOptions): Promise<ClientHit[][]> {
    const { partition, queries, dtype, limit, filter, params, withKeys } = request;
    const data = dtype === 'fp16' ? queries.map(halves) : queries;
    const { results } = await this.connection.call(
      'search',
      (client, { ConsistencyLevelEnum }) =>
        client.search({
          collection_name: this.name,
          partition_names: [partition],
          anns_field: 'key',
          // The client's type knows plain arrays only; it takes these as they are.
          data: data as unknown as number[][],
          limit,
          filter,
          params,
          metric_type: 'L2',
          output_fields: withKeys ? ['id', 'value', 'key'] : ['id', 'value'],
          consistency_level: ConsistencyLevelEnum.Bounded,
        }),
      options,
    );
    // The client unpacks the rows of a single query.
    const rows = (queries.length === 1 ? [results] : results) as unknown as ClientHit[][];
    return queries.map((_, q) => rows[q] ?? []);
  }

  /** The index over the keys. */
  async index(options?: CallOptions): Promise<RemoteIndex | undefined> {
    const found = await this.connection.call(
      'describe the index',
      async (c) => {
        const answer = await c.describeIndex({ collection_name: this.name, field_name: 'key' });
        // That there is none is told as a failure.
        const isNone =
          !isSuccess(statusOf(answer)) && /not (exist|found)|no index/i.test(answer.status.reason);
        return isNone ? { index_descriptions: [] } : answer;
      },
      options,
    );
    const one = found.index_descriptions?.[0];
    return one && remoteIndexOf(one);
  }

  /** @returns why the server refused, undefined when it did not. Errors: `INDEX_UNAVAILABLE` when it is away. */
  async createIndex(type: string, params: Record<string, number>): Promise<string | undefined> {
    const { name: collection_name, connection } = this;
    return await connection.call('build the index', async (client) => {
      const answer = await client.createIndex({
        collection_name,
        field_name: 'key',
        index_name: 'key',
        index_type: type,
        metric_type: 'L2',
        params,
      });
      if (isSuccess(answer)) return undefined;
      // A refused one may be on the books all the same.
      await client.releaseCollection({ collection_name }).catch(() => undefined);
      await client
        .dropIndex({ collection_name, field_name: 'key', index_name: 'key' })
        .catch(() => undefined);
      return answer.reason || 'it gave no reason';
    });
  }

  async close(): Promise<void> {
    await this.connection.close();
  }

  /** Rows for which an expression holds, as every replica will soon see them. */
  async query(
    partition: string,
    filter: string,
    output_fields: string[],
    options?: CallOptions,
  ): Promise<Record<string, unknown>[]> {
    const { data } = await this.connection.call(
      'look up entries',
      (client, { ConsistencyLevelEnum }) =>
        client.query({
          collection_name: this.name,
          partition_names: [partition],
          filter,
          output_fields,
          consistency_level: ConsistencyLevelEnum.Strong,
        }),
      options,
    );
    return data;
  }
}
