/** Every byte of a store, its documents and its index, against the checksums; on Milvus every entry against its document. */
import { Datastore } from '../datastore/datastore.ts';
import { readManifest } from '../datastore/manifest.ts';
import { sameManifest } from '../datastore/read-snapshot.ts';
import { withLock } from '../datastore/store-lock.ts';
import {
  type Verification,
  type VerifyOptions,
  verifyDatastore,
} from '../datastore/verify-datastore.ts';
import { KnnLMError } from '../errors.ts';
import { removeFiles, verifyIvf } from '../indexes/ivf/verify-ivf.ts';
import { isMilvusUrl } from '../indexes/milvus/milvus-address.ts';
import { indexFolder, removeIndex } from './index-folder.ts';
import { StoreMirror } from './milvus/store-mirror.ts';
import { sendAgain, verifyMilvus } from './milvus/verify-milvus.ts';

/**
 * @param store its folder, or its address on Milvus, where nothing can be repaired: by it the files that every machine gets are
 *   checked, and the entries
 * Errors: those of `verifyDatastore`; by address those of `StoreMirror.open`.
 */
export async function verifyStore(
  store: string,
  options: VerifyOptions = {},
): Promise<Verification> {
  if (!isMilvusUrl(store)) return await verifyFolder(store, options);
  if (options.repair) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${store} is an address, by which nothing can be repaired. Do it where the store's folder lies: knnlm verify STORE --repair`,
    );
  }
  const { signal } = options;
  const mirror = await StoreMirror.open(store, { signal });
  try {
    for (;;) {
      const result = await verifyFolder(mirror.path, options);
      // What was changed elsewhere meanwhile is not damage.
      if (result.problems.length > 0 && (await mirror.pull({ signal }))) continue;
      const problems = result.problems.map(({ file, problem }) => ({
        file: file.replace(mirror.path, store),
        problem,
      }));
      return { ...result, problems };
    }
  } finally {
    await mirror.close();
  }
}

/**
 * With `repair` a damaged index is removed, since it can be made again: search is exact until then. Not so where keys were
 * dropped: what is wrong is then reported. Entries that Milvus lacks are sent again.
 * Errors: those of `verifyDatastore`.
 */
async function verifyFolder(path: string, options: VerifyOptions = {}): Promise<Verification> {
  const result = await verifyDatastore(path, options);
  if (result.problems.length > 0) return result;
  const manifest = await readManifest(path);
  const { codes, remote } = manifest;
  const index = await verifyIndex(path, result.bytes, options);
  // Rows that were removed meanwhile are not missing.
  if (
    index.isRemote &&
    index.problems.length > 0 &&
    !sameManifest(await readManifest(path), manifest)
  )
    return await verifyFolder(path, options);
  const repaired: string[] = [];
  if (options.repair && index.problems.length + index.leftovers.length > 0) {
    await withLock(path, async () => {
      // What the server alone has cannot be sent again.
      if (remote) return;
      if (index.isRemote && index.problems.length > 0) {
        await sendAgain(path);
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
    ...(index.entries !== undefined && { entries: index.entries }),
    files: result.files + index.files,
    bytes: result.bytes + index.bytes,
    problems: index.problems,
    leftovers: [...result.leftovers, ...index.leftovers],
    repaired: [...result.repaired, ...repaired],
  };
}

interface IndexVerification
  extends Pick<Verification, 'files' | 'bytes' | 'problems' | 'leftovers' | 'entries'> {
  isRemote: boolean;
}

async function verifyIndex(
  path: string,
  before: number,
  { onProgress, signal }: VerifyOptions,
): Promise<IndexVerification> {
  const datastore = await Datastore.open(path);
  try {
    const remote = await verifyMilvus(datastore, {
      onEntries: (doneEntries, totalEntries) =>
        onProgress?.({ doneBytes: before, totalBytes: before, doneEntries, totalEntries }),
      signal,
    });
    if (remote) return { files: 1, bytes: 0, leftovers: [], isRemote: true, ...remote };
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
