/** Every byte of a store, its documents and its index, against the checksums. */
import { Datastore } from '../datastore/datastore.ts';
import { readManifest } from '../datastore/manifest.ts';
import { withLock } from '../datastore/store-lock.ts';
import {
  type Verification,
  type VerifyOptions,
  verifyDatastore,
} from '../datastore/verify-datastore.ts';
import { removeFiles, verifyIvf } from '../indexes/ivf/verify-ivf.ts';
import { indexFolder, removeIndex } from './index-folder.ts';
import { syncMilvus } from './milvus/sync-milvus.ts';
import { verifyMilvus } from './milvus/verify-milvus.ts';

/**
 * With `repair` a damaged index is removed, since it can be made again: search is exact until then. Not so where keys were
 * dropped: what is wrong is then reported. Entries that Milvus lacks are sent again.
 * Errors: those of `verifyDatastore`.
 */
export async function verifyStore(
  path: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  const result = await verifyDatastore(path, options);
  if (result.problems.length > 0) return result;
  const { codes, remote } = await readManifest(path);
  const index = await verifyIndex(path, result.bytes, options);
  const repaired: string[] = [];
  if (options.repair && index.problems.length + index.leftovers.length > 0) {
    await withLock(path, async () => {
      // What the server alone has cannot be sent again.
      if (remote) return;
      if (index.isRemote && index.problems.length > 0) {
        await syncMilvus(path, { remeasure: true });
        repaired.push(`sent the entries again (${index.problems[0]!.problem})`);
      } else if (index.problems.length > 0) {
        // Codes that took the place of keys cannot be made again.
        if (codes) return;
        await removeIndex(path);
        const what = index.problems[0]!.problem;
        repaired.push(`removed the index (${what}); make it again: knnlm index ${path}`);
      } else {
        await removeFiles(index.leftovers);
        repaired.push(...index.leftovers.map((file) => `removed ${file}`));
      }
    });
    if (!codes && !remote) index.problems = [];
    if (index.problems.length === 0) index.leftovers = [];
  }
  return {
    files: result.files + index.files,
    bytes: result.bytes + index.bytes,
    problems: index.problems,
    leftovers: [...result.leftovers, ...index.leftovers],
    repaired: [...result.repaired, ...repaired],
  };
}

async function verifyIndex(path: string, before: number, { onProgress, signal }: VerifyOptions) {
  const datastore = await Datastore.open(path);
  try {
    const remote = await verifyMilvus(datastore, { signal });
    if (remote) return { files: 1, bytes: 0, problems: remote, leftovers: [], isRemote: true };
    let doneBytes = before;
    const local = await verifyIvf({
      folder: indexFolder(path),
      sources: datastore.ownKeySources(),
      dim: datastore.keyDim,
      codes: datastore.dropped?.codes,
      onBytes: (bytes) => {
        doneBytes += bytes;
        onProgress?.({ doneBytes, totalBytes: doneBytes });
      },
      signal,
    });
    return { ...local, isRemote: false };
  } finally {
    await datastore.close();
  }
}
