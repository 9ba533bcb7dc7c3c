/** The ways in: build a datastore from documents, add to one, open one with its model. */
import { checkBuildTarget } from './datastore/build-target.ts';
import { Datastore } from './datastore/datastore.ts';
import { DatastoreWriter } from './datastore/datastore-writer.ts';
import { checkWritable } from './datastore/files.ts';
import { headerOf, type Manifest, readManifest } from './datastore/manifest.ts';
import { estimateDocuments } from './datastore/sources/estimate-documents.ts';
import {
  type PairInputs,
  type ReadOptions,
  readDocuments,
} from './datastore/sources/read-documents.ts';
import type { DocumentRecord, SettingsRecord } from './datastore/types.ts';
import { KnnLMError } from './errors.ts';
import { parseCodec } from './indexes/ivf/codec.ts';
import { isMilvusUrl } from './indexes/milvus/milvus-address.ts';
import { addEntries } from './knnlm/add.ts';
import { buildEntries } from './knnlm/build.ts';
import type { AddOptions, AddResult, BuildRequest, BuildResult } from './knnlm/build-types.ts';
import { type Conclusion, concludeBuild } from './knnlm/conclude-build.ts';
import { dropKeys } from './knnlm/drop-keys.ts';
import { checkDisk, planBuild } from './knnlm/estimate.ts';
import {
  type ImportArrays,
  type ImportRequest,
  type ImportResult,
  importArrays,
} from './knnlm/import-arrays.ts';
import { indexingBytes } from './knnlm/index-plan.ts';
import { checkSettings, DEFAULT_SETTINGS } from './knnlm/interpolate.ts';
import { builtIndex, keepIndexed, wantsIndex } from './knnlm/keep-indexed.ts';
import { keepTuned } from './knnlm/keep-tuned.ts';
import { loadStoreModel } from './knnlm/load-store-model.ts';
import { leaveToMilvus } from './knnlm/milvus/leave-entries.ts';
import { publishStore } from './knnlm/milvus/publish-store.ts';
import { withStoreFolder } from './knnlm/milvus/store-mirror.ts';
import { greetMilvus } from './knnlm/milvus/sync-milvus.ts';
import { type OpenOptions, openKnnLM } from './knnlm/open-knnlm.ts';
import { checkWithin } from './knnlm/speed-ladder.ts';
import { headerFor } from './knnlm/store-header.ts';
import { describeStore, type StoreInfo } from './knnlm/store-info.ts';
import { storedSettings } from './knnlm/used-settings.ts';
import { watchFolders } from './knnlm/watch/watch-folders.ts';
import { defaultWindowPlan } from './knnlm/windows.ts';
import type { LanguageModel, LoadModelOptions } from './model/language-model.ts';
import { loadModel } from './model/load-model.ts';
import type { PairOptions } from './model/pair-reading.ts';

export { type OpenOptions, openKnnLM, watchFolders };

/** The bundled base model. */
export const DEFAULT_MODEL = 'wiki-mini-2';

/** Figures of a datastore, without loading its model. @param store its folder, or its address on Milvus */
export function datastoreInfo(store: string): Promise<StoreInfo> {
  return withStoreFolder(store, async (path) => {
    const datastore = await Datastore.open(path);
    try {
      return await describeStore(datastore, store);
    } finally {
      await datastore.close();
    }
  });
}

/** The documents of a datastore that have not been removed, in entry order. @param store its folder, or its address on Milvus */
export function listDocuments(store: string): Promise<DocumentRecord[]> {
  return withStoreFolder(store, async (path) => {
    const datastore = await Datastore.open(path);
    try {
      return [...datastore.documents];
    } finally {
      await datastore.close();
    }
  });
}

export interface BuildDatastoreRequest
  extends BuildRequest,
    Pick<
      LoadModelOptions,
      'key' | 'keyTensor' | 'dtype' | 'workers' | 'threads' | 'device' | 'onDownload' | 'onWarning'
    >,
    Pick<ReadOptions, 'textColumn' | 'idColumn' | 'invalidUtf8'> {
  /** A folder, a hub id or a bundled model. Default `wiki-mini-2`. */
  model?: string;
  /** Pairs of a source and its target instead of texts, for an encoder-decoder: where they are, and what the model must be told of them. */
  pairs?: PairInputs & PairOptions;
}

/**
 * Reads documents into a new datastore, or goes on with a half-built one.
 * @param inputs files, folders, globs, or `-` for standard input
 * Errors: `NO_DOCUMENTS`, `INVALID_DOCUMENT`, `STORE_EXISTS`, `STORE_LOCKED`, `MODEL_MISMATCH`, `DISK_FULL`, `ABORTED`, those of `loadModel`.
 */
export async function buildDatastore(
  inputs: readonly string[],
  request: BuildDatastoreRequest,
): Promise<BuildResult> {
  const started = performance.now();
  const settings = request.settings
    ? { ...checkSettings({ ...DEFAULT_SETTINGS, ...request.settings }), source: 'given' as const }
    : { ...DEFAULT_SETTINGS, source: 'default' as const };
  let skipped = 0;
  const onSkip: BuildRequest['onSkip'] = (skip) => {
    skipped++;
    request.onSkip?.(skip);
  };
  const { signal, textColumn, idColumn, invalidUtf8, pairs } = request;
  const { targets, ...told } = pairs ?? {};
  const readOptions: ReadOptions = {
    ...{ signal, textColumn, idColumn, invalidUtf8 },
    pairs: pairs && { targets },
  };
  checkCodes(request);
  if (checkWithin({ within: request.within }) !== undefined && settings.source !== 'default') {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'Settings are given, or found within what speed may cost: leave out one of them.',
    );
  }
  // Nobody should read for hours to hear it.
  if (request.index !== undefined && isMilvusUrl(request.index)) await greetMilvus(request.index);
  await checkBuildTarget(request.out);
  const estimate = await estimateDocuments(inputs, readOptions);
  const model = await loadModel(request.model ?? DEFAULT_MODEL, { ...request, pairs: told });
  try {
    checkReads(model, { pairs: pairs !== undefined });
    const plan = defaultWindowPlan(model.info.contextLength, request);
    const header = headerFor(model, { ...plan, keyDtype: request.keyDtype ?? 'fp16' });
    const cost = await planBuild(estimate, model, header, request.out);
    if (cost) {
      const { entries } = cost;
      const isIndexed = request.dropKeys || wantsIndex(entries, request.index);
      const indexBytes = isIndexed ? indexingBytes(entries, model.info.keyDim) : undefined;
      request.onPlan?.({ ...cost, ...(indexBytes && { indexBytes }) });
      checkDisk(cost, request.out);
    }
    const writer = await DatastoreWriter.open(request.out, header);
    const selfTunes = settings.source === 'default' && (request.selfTune ?? true);
    let conclusion: Conclusion = { tuningSeconds: 0 };
    const conclude = async (): Promise<SettingsRecord | undefined> => {
      conclusion = await concludeBuild(request.out, model, { ...request, selfTunes });
      return conclusion.settings;
    };
    const resumedEntries = writer.resumed.entries;
    const counts = await buildEntries(
      readDocuments(inputs, { ...readOptions, onSkip }),
      model,
      writer,
      {
        settings,
        conclude,
        inputBytes: estimate.fileBytes,
        commitMs: request.commitMs,
        onProgress: request.onProgress,
        onSkip,
        signal,
      },
    );
    if (request.dropKeys) await dropKeys(request.out, { signal });
    await publishStore(request.out, request);
    if (request.values === 'remote') await leaveToMilvus(request.out, request);
    const { tuningSeconds } = conclusion;
    const index = builtIndex(conclusion.index);
    const seconds = (performance.now() - started) / 1000 - tuningSeconds - (index?.seconds ?? 0);
    const info = await datastoreInfo(request.out);
    const { documents, entries, bytes } = info;
    return {
      documents,
      entries,
      seconds,
      index,
      tuningSeconds,
      settings: storedSettings(info.settings),
      entriesPerSecond: counts.entries / seconds,
      bytes: bytes.total,
      skipped,
      resumedEntries,
    };
  } finally {
    await model.close();
  }
}

/** Errors: `INVALID_ARGUMENT` when a model of pairs is given texts, or the other way round. */
function checkReads({ info }: LanguageModel, { pairs }: { pairs: boolean }): void {
  if (pairs === (info.pairs !== undefined)) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    pairs
      ? `${info.name} is a causal model and reads texts, not pairs. Name an encoder-decoder, such as a translation model, with --model.`
      : `${info.name} is an encoder-decoder: it reads pairs of a source and its target. Give it those: knnlm build --pairs FILE`,
  );
}

/** Errors: `INVALID_ARGUMENT`, before anything is read. */
function checkCodes({ index, codes, dropKeys: drops, values }: BuildDatastoreRequest): void {
  if (values === 'remote' && (index === undefined || !isMilvusUrl(index))) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'Keys and values can be left to a collection on Milvus only. Name one: --index milvus://host:port/collection',
    );
  }
  // Of the width, which only the model knows, the index will see.
  if (codes !== undefined) parseCodec(codes, 4096);
  if (index !== undefined && isMilvusUrl(index) && (drops || codes !== undefined)) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${drops ? 'Keys can be dropped' : 'Codes are chosen'} only where the index is on this machine, not with ${index}. Leave one of them out.`,
    );
  }
  if (!drops || (index !== 'none' && codes !== 'sq8')) return;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `Keys can be dropped only where an index of product codes takes their place, not with ${index === 'none' ? 'index none' : 'codes sq8'}. Leave that out.`,
  );
}

export interface ImportDatastoreRequest
  extends ImportRequest,
    Pick<
      LoadModelOptions,
      | 'key'
      | 'keyTensor'
      | 'dtype'
      | 'workers'
      | 'threads'
      | 'device'
      | 'pairs'
      | 'onDownload'
      | 'onWarning'
    > {
  /** The model that made the keys. Default `wiki-mini-2`. */
  model?: string;
}

/**
 * A new datastore from arrays of keys and values, as `exportDatastore` or a Python program writes them.
 * Errors: those of `importArrays` and `loadModel`.
 */
export async function importDatastore(
  arrays: ImportArrays,
  request: ImportDatastoreRequest,
): Promise<ImportResult> {
  await checkBuildTarget(request.out);
  const model = await loadModel(request.model ?? DEFAULT_MODEL, request);
  try {
    return await importArrays(arrays, model, request);
  } finally {
    await model.close();
  }
}

export interface AddRequest
  extends AddOptions,
    Pick<BuildRequest, 'onPlan' | 'index'>,
    Omit<OpenOptions, 'memoryBytes' | 'signal'>,
    Pick<ReadOptions, 'textColumn' | 'idColumn' | 'invalidUtf8'> {
  /** Of a store of pairs: files of targets, one for each input (`PairInputs`). */
  targets?: readonly string[];
}

/**
 * Reads documents into a finished datastore with the model it was built with. Documents that are stored already are
 * passed over, so an add that was stopped goes on when it is called again.
 * @param inputs files, folders, globs, or `-` for standard input
 * Errors: `NO_DOCUMENTS`, `INVALID_DOCUMENT` for a stored id with another text (unless `replace`), `STORE_NOT_FOUND`,
 * `STORE_LOCKED`, `MODEL_MISMATCH`, `DISK_FULL`, `ABORTED`, those of `loadModel`.
 */
export async function addDocuments(
  store: string,
  inputs: readonly string[],
  request: AddRequest = {},
): Promise<AddResult> {
  const manifest = await readManifest(store);
  // Nobody should wait for the model to hear it.
  await checkWritable(store);
  const { signal, textColumn, idColumn, invalidUtf8, onSkip } = request;
  const pairs = storedPairInputs(store, manifest, request.targets);
  const readOptions: ReadOptions = { signal, textColumn, idColumn, invalidUtf8, pairs, onSkip };
  const estimate = await estimateDocuments(inputs, readOptions);
  const model = await loadStoreModel(manifest, request);
  try {
    const cost = await planBuild(estimate, model, headerOf(manifest), store);
    if (cost) {
      request.onPlan?.(cost);
      checkDisk(cost, store);
    }
    const added = await addEntries(readDocuments(inputs, readOptions), model, store, {
      ...request,
      inputBytes: estimate.fileBytes,
    });
    const index = builtIndex(await keepIndexed(store, request));
    const settings = await keepTuned(store, model, request);
    return { ...added, ...(index && { index }), ...(settings && { settings }) };
  } finally {
    await model.close();
  }
}

/** How more documents for a store are read: as pairs when it holds pairs. Errors: `INVALID_ARGUMENT` for targets where it holds texts. */
export function storedPairInputs(
  store: string,
  { pairs }: Pick<Manifest, 'pairs'>,
  targets?: readonly string[],
): PairInputs | undefined {
  if (pairs) return { targets };
  if (targets === undefined) return undefined;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${store} holds texts, not pairs of a source and its target. Leave the files of targets out.`,
  );
}
