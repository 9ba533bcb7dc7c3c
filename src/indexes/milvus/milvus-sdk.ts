/** The only door to the Milvus client, an optional peer dependency, loaded on first use. */
import type * as Sdk from '@zilliz/milvus2-sdk-node';
import { KnnLMError } from '../../errors.ts';

export type { Sdk };

let loaded: Promise<typeof Sdk> | undefined;

/** Errors: `INVALID_ARGUMENT` when it is not installed. */
export function loadMilvusSdk(): Promise<typeof Sdk> {
  loaded ??= import('@zilliz/milvus2-sdk-node').then(
    (module) => (module.default ?? module) as unknown as typeof Sdk,
    (cause) => {
      loaded = undefined;
      throw new KnnLMError(
        'INVALID_ARGUMENT',
        'This store is searched on Milvus, whose client is not installed. Run: npm install @zilliz/milvus2-sdk-node',
        { cause },
      );
    },
  );
  return loaded;
}
