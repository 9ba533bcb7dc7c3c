/**
 * Documents in, entries out: one (key, value) pair per token.
 *
 * Windows are taken in corpus order and cut into groups of a fixed number of positions. A group is what the model
 * batches, and acknowledgements fall between groups only; so the batches, and with them every byte of the store, are the
 * same whether a build runs through or is killed and continued.
 */
import type { DatastoreWriter } from '../datastore/datastore-writer.ts';
import type { ReadDocument } from '../datastore/sources/read-documents.ts';
import type { SettingsRecord } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { encodeText, sourceProblem, sourcesOf } from './read-tokens.ts';
import type { Progress } from './types.ts';
import { planWindows, type Window, type WindowPlan } from './windows.ts';

/** Floats of keys in one group, at most: bounds memory for wide models. */
const GROUP_KEY_FLOATS = 8_388_608;
const GROUP_POSITIONS = 8_192;
/** Groups computed or waiting to be written, so that the model never waits for the disk. */
const GROUPS_AHEAD = 2;
/** Default time between acknowledgements, in milliseconds: about what a crash can cost. */
const COMMIT_MS = 5_000;

export interface BuildOptions {
  /** Null keeps those of the store. */
  settings: SettingsRecord | null;
  /** Bytes of input in all, for progress; 0 when unknown. */
  inputBytes: number;
  /**
   * What there is to do when all entries are stored, before the store counts as finished: a kill meanwhile costs nothing
   * else. Its settings take the place of those above.
   */
  conclude?: () => Promise<SettingsRecord | undefined>;
  commitMs?: number;
  onProgress?: (progress: Progress) => void;
  onSkip?: (skip: { source: string; reason: string }) => void;
  signal?: AbortSignal;
}

export interface BuildCounts {
  documents: number;
  entries: number;
  skipped: number;
}

/** A window of a document, and where its fresh keys go. */
interface PlannedWindow extends Window {
  document: PlannedDocument;
}

interface PlannedDocument {
  record: {
    id: string;
    source: string;
    hash: string;
    length: number;
    metadata?: Record<string, unknown>;
    sourceText?: string;
  };
  /** (n + 1) BOS, t1 … tn. */
  inputs: Int32Array;
  /** (n + 1) t1 … tn, EOS. */
  targets: Int32Array;
  /** Of a pair: its source. */
  sourceIds: Int32Array | undefined;
  readBytes: number;
  /** Entries stored by an earlier, interrupted run. */
  done: number;
  /** Whether the writer knows of it. */
  begun: boolean;
}

/** Runs the whole build into an open writer and finishes it. Errors: `ABORTED` after a clean stop, `DISK_FULL`. */
export async function buildEntries(
  documents: AsyncIterable<ReadDocument>,
  model: LanguageModel,
  writer: DatastoreWriter,
  options: BuildOptions,
): Promise<BuildCounts> {
  const counts: BuildCounts = { documents: 0, entries: 0, skipped: 0 };
  const planned = planDocuments(documents, model, writer, options, counts);
  const groups = groupWindows(planned, model, writer.header);
  const ahead: { group: PlannedWindow[]; keys: Promise<Float32Array[]> }[] = [];
  let committed = performance.now();
  let betweenGroups = true;
  let { settings } = options;
  const writeOldest = async (): Promise<void> => {
    const { group, keys } = ahead.shift()!;
    const fresh = await keys;
    betweenGroups = false;
    await writeGroup(group, fresh, writer, counts);
    betweenGroups = true;
    if (performance.now() - committed >= (options.commitMs ?? COMMIT_MS)) {
      await writer.commit();
      committed = performance.now();
    }
    const { readBytes } = group.at(-1)!.document;
    const total = options.inputBytes || undefined;
    options.onProgress?.({
      done: readBytes,
      total,
      unit: 'bytes',
      phase: 'building',
      entries: counts.entries,
    });
  };
  try {
    for await (const group of groups) {
      const keys = model.keys(
        group.map((w) => w.document.inputs.slice(w.start, w.start + w.length)),
        { sources: sourcesOf(group.map(({ document }) => document)), signal: options.signal },
      );
      keys.catch(() => {});
      ahead.push({ group, keys });
      if (ahead.length > GROUPS_AHEAD) await writeOldest();
      if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The build was stopped.');
    }
    while (ahead.length > 0) await writeOldest();
    await writer.commit();
    if (writer.entries > 0) settings = (await options.conclude?.()) ?? settings;
  } catch (error) {
    await Promise.allSettled(ahead.map(({ keys }) => keys));
    await writer.abort({ commit: betweenGroups });
    throw error;
  }
  await writer.finish(settings);
  return counts;
}

/** Tokenizes the documents that are not stored yet. */
async function* planDocuments(
  documents: AsyncIterable<ReadDocument>,
  model: LanguageModel,
  writer: DatastoreWriter,
  options: BuildOptions,
  counts: BuildCounts,
): AsyncGenerator<PlannedDocument> {
  const seen = new Set<string>();
  for await (const read of documents) {
    const { id, source, hash, metadata, sourceText, readBytes } = read;
    const status = writer.claim(id, hash);
    if (status === 'duplicate' || (status === 'done' && seen.has(id))) {
      counts.skipped++;
      options.onSkip?.({ source, reason: 'the same text is already stored' });
    }
    if (status === 'duplicate' || status === 'done') continue;
    const { inputs, targets, sourceIds } = await encodeText(read, model);
    const problem = sourceProblem(sourceIds, model);
    if (problem !== undefined) {
      counts.skipped++;
      options.onSkip?.({ source, reason: `it ${problem}` });
      continue;
    }
    const record = { id, source, hash, length: targets.length, metadata, sourceText };
    // The first document goes on where an interrupted build stood, or drops what that left half done.
    const begun = seen.size === 0;
    const done = begun ? await writer.beginDocument(record) : 0;
    seen.add(id);
    yield { record, inputs, targets, sourceIds, readBytes, done, begun };
  }
}

/** Windows in corpus order, without those stored before, in groups of a fixed number of positions. */
async function* groupWindows(
  documents: AsyncIterable<PlannedDocument>,
  model: LanguageModel,
  plan: WindowPlan,
): AsyncGenerator<PlannedWindow[]> {
  const limit = Math.min(GROUP_POSITIONS, Math.ceil(GROUP_KEY_FLOATS / model.info.keyDim));
  let group: PlannedWindow[] = [];
  let positions = 0;
  for await (const document of documents) {
    for (const window of planWindows(document.inputs.length, plan)) {
      if (window.start + window.length <= document.done) continue;
      group.push({ ...window, document });
      positions += window.length;
      if (positions < limit) continue;
      yield group;
      group = [];
      positions = 0;
    }
  }
  if (group.length > 0) yield group;
}

/** Appends a group's fresh keys and values, opening and closing documents on the way. */
async function writeGroup(
  group: readonly PlannedWindow[],
  keys: readonly Float32Array[],
  writer: DatastoreWriter,
  counts: BuildCounts,
): Promise<void> {
  for (let g = 0; g < group.length; g++) {
    const { start, length, seen, document } = group[g]!;
    if (!document.begun) {
      await writer.beginDocument(document.record);
      document.begun = true;
    }
    const end = start + length;
    const dim = keys[g]!.length / length;
    await writer.append(
      keys[g]!.subarray(seen * dim),
      document.targets.subarray(start + seen, end),
    );
    counts.entries += length - seen;
    if (end === document.targets.length) {
      await writer.endDocument();
      counts.documents++;
    }
  }
}
