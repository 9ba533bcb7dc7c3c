/** What a build will cost, told before it begins: a sample is tokenized and one batch is timed. */
import { freeDiskBytes } from '../datastore/files.ts';
import type { StoreHeader } from '../datastore/manifest.ts';
import { storeBytes } from '../datastore/segment.ts';
import type { DocumentEstimate } from '../datastore/sources/estimate-documents.ts';
import { KnnLMError } from '../errors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import type { BuildPlan } from './build-types.ts';
import { encodeText, type ReadText, sourcesOf } from './read-tokens.ts';
import { planWindows } from './windows.ts';

/** Windows timed: enough to see the rate, little enough not to be waited for. */
const TIMED_WINDOWS = 4;
/** Free space that a build leaves untouched, in bytes. */
const DISK_RESERVE = 64 * 1024 * 1024;

/** @returns undefined when nothing is known of the input (standard input). */
export async function planBuild(
  estimate: DocumentEstimate,
  model: LanguageModel,
  header: StoreHeader,
  out: string,
): Promise<BuildPlan | undefined> {
  if (estimate.sample.length === 0) return undefined;
  const tokens = await model.encodeDocuments(estimate.sample.map(({ text }) => text));
  // What every target of a pair begins with, and the EOS.
  const around = 1 + (model.info.pairs?.targetStart.length ?? 0);
  const sampleBytes = estimate.sample.reduce((sum, { textBytes }) => sum + textBytes, 0);
  const sampleTokens = tokens.reduce((sum, ids) => sum + ids.length, 0);
  const entries = Math.round(
    (estimate.textBytes / Math.max(1, sampleBytes)) * sampleTokens + around * estimate.documents,
  );
  let positions = 0;
  for (const ids of tokens) {
    for (const { length } of planWindows(ids.length + around, header)) positions += length;
  }
  const positionsPerEntry = positions / (sampleTokens + around * tokens.length);
  const longest = tokens.reduce((a, ids, i) => (ids.length > tokens[a]!.length ? i : a), 0);
  const text = await encodeText(estimate.sample[longest]!, model);
  return {
    documents: estimate.documents,
    bytesOfText: estimate.textBytes,
    entries,
    diskBytes: storeBytes(header, entries, estimate.documents),
    freeDiskBytes: await freeDiskBytes(out),
    seconds: (entries * positionsPerEntry) / (await positionsPerSecond(text, model, header)),
  };
}

/** Refuses a build whose result cannot fit. Errors: `DISK_FULL` with both sizes. */
export function checkDisk(plan: BuildPlan, out: string): void {
  if (plan.diskBytes + DISK_RESERVE <= plan.freeDiskBytes) return;
  const gb = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
  throw new KnnLMError(
    'DISK_FULL',
    `The datastore needs about ${gb(plan.diskBytes)} but ${out} has ${gb(plan.freeDiskBytes)} free. ` +
      'Free some space, choose another folder, or build from fewer documents.',
  );
}

async function positionsPerSecond(
  text: ReadText,
  model: LanguageModel,
  { window }: StoreHeader,
): Promise<number> {
  const inputs = text.inputs.slice(0, window);
  const sourceIds = text.sourceIds?.slice(0, model.info.contextLength);
  const read = (count: number) =>
    model.keys(new Array(count).fill(inputs), {
      sources: sourcesOf(new Array(count).fill({ sourceIds })),
    });
  await read(1);
  const started = performance.now();
  await read(TIMED_WINDOWS);
  return (TIMED_WINDOWS * inputs.length * 1000) / (performance.now() - started);
}
