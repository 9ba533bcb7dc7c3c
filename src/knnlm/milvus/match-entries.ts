/** The entries on the server are made those of the store: what is missing is sent, what was removed is removed, and they are counted. */
import type { Datastore } from '../../datastore/datastore.ts';
import { KnnLMError } from '../../errors.ts';
import { flattenRanges, includesId } from '../../indexes/id-ranges.ts';
import { markSources } from '../../indexes/ivf/ivf-header.ts';
import { inside, subtract } from '../../indexes/milvus/milvus-filter.ts';
import { type MilvusHeader, writeMilvusHeader } from '../../indexes/milvus/milvus-header.ts';
import { firstId } from '../../indexes/milvus/milvus-partition.ts';
import { type EntrySource, sendEntries } from '../../indexes/milvus/send-entries.ts';
import type { IdRange } from '../../math/vectors.ts';
import { mergeRanges } from '../retriever.ts';
import type { Work } from './types.ts';

/** Between two notes of how far the sending has come. */
const NOTE_MS = 2000;
/** Ranges removed by one expression. */
const RANGES_AT_ONCE = 256;
/** Ids of a datastore's entries are below this. */
const MOST_ENTRIES = 2 ** 31;

/** Sends what was not yet; what was removed before is not sent at all. */
export async function send(work: Work): Promise<MilvusHeader> {
  const { datastore, collection, calls, folder, request } = work;
  const { entries, keyDim } = datastore;
  let { header } = work;
  if (header.sent >= entries) return header;
  const gone = datastore.excludedRanges();
  const range: IdRange = [header.sent, entries];
  const unsent = clipped(gone, range);
  header = {
    ...header,
    sources: await markSources(datastore.keySources(), keyDim),
    removed: mergeRanges([...header.removed, ...unsent]),
  };
  await writeMilvusHeader(folder, header);
  let noted = performance.now();
  let writing: Promise<void> = Promise.resolve();
  try {
    await sendEntries(
      collection,
      header,
      { source: entrySource(datastore), range, removed: gone },
      {
        ...calls,
        onSent: async (sent) => {
          header = { ...header, sent };
          request.onProgress?.({ phase: 'sending', done: sent, total: entries, unit: 'entries' });
          if (performance.now() - noted < NOTE_MS) return;
          noted = performance.now();
          const now = header;
          writing = writing.then(() => writeMilvusHeader(folder, now));
          await writing;
        },
      },
    );
  } catch (error) {
    await writing;
    await writeMilvusHeader(folder, header);
    if (!(error instanceof KnnLMError) || error.code !== 'INDEX_UNAVAILABLE') throw error;
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${error.message} ${header.sent} of ${entries} entries have arrived; the same command again goes on from there.`,
      { cause: error },
    );
  }
  await writing;
  await writeMilvusHeader(folder, header);
  return header;
}

function entrySource(datastore: Datastore): EntrySource {
  return {
    sources: datastore.keySources(),
    values: ([start, end]) => datastore.valueRange(start, end),
    document: (entry) => {
      const { id, start, length } = datastore.documents.locate(entry).document;
      return { id, end: start + length };
    },
  };
}

/** Removes from the server what was removed here since. */
export async function removeGone(work: Work): Promise<{ header: MilvusHeader; removed: number }> {
  const { datastore, folder } = work;
  let { header } = work;
  const ranges = missingFrom(header.removed, datastore);
  if (ranges.length === 0) return { header, removed: 0 };
  await removeRanges(work, ranges);
  const removed = mergeRanges([...header.removed, ...ranges]);
  const gone = flattenRanges(removed, datastore.entries);
  const samples = header.samples.filter(({ entry }) => !includesId(gone, entry));
  header = { ...header, removed, samples };
  await writeMilvusHeader(folder, header);
  return { header, removed: ranges.reduce((sum, [start, end]) => sum + end - start, 0) };
}

/** To remove what is not there changes nothing. */
async function removeRanges(
  { collection, header, calls }: Work,
  ranges: readonly IdRange[],
): Promise<void> {
  const { name } = header.partition;
  const first = firstId(header.partition);
  for (let i = 0; i < ranges.length; i += RANGES_AT_ONCE)
    await collection.remove(name, inside(ranges.slice(i, i + RANGES_AT_ONCE), first), calls);
}

/** Removed entries that the server still has. */
export function missingFrom(removed: readonly IdRange[], datastore: Datastore): IdRange[] {
  const { entries } = datastore;
  const gone = flattenRanges(mergeRanges(datastore.excludedRanges()), entries);
  const left = subtract(gone, flattenRanges(removed, entries));
  return Array.from({ length: left.length / 2 }, (_, r) => [left[2 * r]!, left[2 * r + 1]!]);
}

const clipped = (ranges: readonly IdRange[], [start, end]: IdRange): IdRange[] =>
  ranges
    .map(([from, to]): IdRange => [Math.max(from, start), Math.min(to, end)])
    .filter(([from, to]) => from < to);

/** That every entry is there once. When some are missing, all are sent again, once. */
export async function checkCount(work: Work, isSecond = false): Promise<MilvusHeader> {
  const { datastore, collection, calls, header } = work;
  const first = firstId(header.partition);
  const { entries } = datastore;
  const found = await collection.count(header.partition.name, first, first + entries, calls);
  const gone = header.removed.reduce((sum, [start, end]) => sum + end - start, 0);
  if (found === entries - gone) return header;
  if (datastore.remote) {
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${header.url} holds ${found} of this store's ${entries - gone} entries, and there is no copy of them here. Restore the collection, or build the documents again.`,
    );
  }
  if (isSecond) {
    throw new KnnLMError(
      'INDEX_UNAVAILABLE',
      `${header.url} holds ${found} entries of this store after ${entries - gone} were sent twice. Somebody else may be writing to the partition ${header.partition.name}.`,
    );
  }
  work.request.onWarning?.(
    `${header.url} held ${found} of ${entries - gone} entries; they are sent again.`,
  );
  const again = await send({ ...work, header: { ...header, sent: 0, removed: [] } });
  // Rows that should not be there are removed once more too.
  await removeRanges(work, [...again.removed, [entries, MOST_ENTRIES]]);
  await collection.flush(calls);
  return await checkCount({ ...work, header: again }, true);
}
