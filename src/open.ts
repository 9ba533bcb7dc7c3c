/** The two ways in: build a datastore from documents, open one with its model. */
import { resolve } from 'node:path';
import { checkBuildTarget } from './datastore/build-target.ts';
import { Datastore } from './datastore/datastore.ts';
import { DatastoreWriter } from './datastore/datastore-writer.ts';
import { checkSameHeader, type StoreHeader } from './datastore/manifest.ts';
import { estimateDocuments } from './datastore/sources/estimate-documents.ts';
import { type ReadOptions, readDocuments } from './datastore/sources/read-documents.ts';
import { KnnLMError } from './errors.ts';
import { openIndex } from './indexes/open-index.ts';
import { buildEntries } from './knnlm/build.ts';
import { checkDisk, planBuild } from './knnlm/estimate.ts';
import { usedSettings } from './knnlm/gate.ts';
import { indexFolder } from './knnlm/index-folder.ts';
import { checkSettings, DEFAULT_SETTINGS } from './knnlm/interpolate.ts';
import { KnnLM } from './knnlm/knnlm.ts';
import { Retriever } from './knnlm/retriever.ts';
import { selfTune } from './knnlm/self-tune.ts';
import { describeStore, type StoreInfo } from './knnlm/store-info.ts';
import type { BuildRequest, BuildResult } from './knnlm/types.ts';
import { defaultWindowPlan } from './knnlm/windows.ts';
import type {
  KeyName,
  LanguageModel,
  LoadModelOptions,
  ModelDtype,
  ModelInfo,
} from './model/language-model.ts';
import { loadModel } from './model/load-model.ts';

/** The bundled base model. */
export const DEFAULT_MODEL = 'wiki-mini';

export interface OpenOptions
  extends Pick<LoadModelOptions, 'workers' | 'threads' | 'onDownload' | 'signal'> {
  /** Where the model lies now, when not where it was at build. It must be the same model. */
  model?: string;
  /** Bytes of memory the index may use. */
  memoryBytes?: number;
}

/**
 * Opens a datastore with the model it was built with.
 * Errors: `STORE_NOT_FOUND`, `STORE_CORRUPT`, `STORE_VERSION`, `MODEL_NOT_FOUND`, `MODEL_MISMATCH`, `NO_DOCUMENTS`.
 */
export async function openKnnLM(store: string, options: OpenOptions = {}): Promise<KnnLM> {
  const datastore = await Datastore.open(store);
  let loaded: LanguageModel | undefined;
  try {
    if (datastore.entries === 0) {
      throw new KnnLMError(
        'NO_DOCUMENTS',
        `The datastore ${store} holds no entries yet. Build it first: knnlm build DOCS... --out ${store}`,
      );
    }
    const { header } = datastore;
    const model = await loadModel(options.model ?? header.model.name, {
      ...options,
      ...(header.key.name ? { key: header.key.name as KeyName } : { keyTensor: header.key.tensor }),
      dtype: header.fingerprint.dtype as ModelDtype,
    });
    loaded = model;
    checkSameHeader(
      datastore.manifest,
      headerFor(model, { ...header, keyDtype: header.key.dtype }),
    );
    const index = await openIndex({
      sources: datastore.keySources(),
      dim: datastore.keyDim,
      memoryBytes: options.memoryBytes,
      indexFolder: indexFolder(store),
    });
    const info = await describeStore(datastore);
    return new KnnLM({ info, datastore, model, retriever: new Retriever(datastore, index) });
  } catch (error) {
    await loaded?.close();
    await datastore.close();
    throw error;
  }
}

/** Figures of a datastore, without loading its model. */
export async function datastoreInfo(store: string): Promise<StoreInfo> {
  const datastore = await Datastore.open(store);
  try {
    return await describeStore(datastore);
  } finally {
    await datastore.close();
  }
}

export interface BuildDatastoreRequest
  extends BuildRequest,
    Pick<LoadModelOptions, 'key' | 'keyTensor' | 'dtype' | 'workers' | 'threads' | 'onDownload'>,
    Pick<ReadOptions, 'textColumn' | 'idColumn' | 'invalidUtf8'> {
  /** A folder, a hub id or a bundled model. Default `wiki-mini`. */
  model?: string;
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
  const { signal, textColumn, idColumn, invalidUtf8 } = request;
  const readOptions: ReadOptions = { signal, textColumn, idColumn, invalidUtf8 };
  await checkBuildTarget(request.out);
  const estimate = await estimateDocuments(inputs, readOptions);
  const model = await loadModel(request.model ?? DEFAULT_MODEL, request);
  try {
    const plan = defaultWindowPlan(model.info.contextLength, request);
    const header = headerFor(model, { ...plan, keyDtype: request.keyDtype ?? 'fp16' });
    const cost = await planBuild(estimate, model, header, request.out);
    if (cost) {
      request.onPlan?.(cost);
      checkDisk(cost, request.out);
    }
    const writer = await DatastoreWriter.open(request.out, header);
    const resumedEntries = writer.resumed.entries;
    const counts = await buildEntries(
      readDocuments(inputs, { ...readOptions, onSkip }),
      model,
      writer,
      {
        settings,
        inputBytes: estimate.fileBytes,
        commitMs: request.commitMs,
        onProgress: request.onProgress,
        onSkip,
        signal,
      },
    );
    const seconds = (performance.now() - started) / 1000;
    const tuningSeconds =
      settings.source === 'default' && (request.selfTune ?? true)
        ? await selfTuneStore(request.out, model, request)
        : 0;
    const info = await datastoreInfo(request.out);
    const { documents, entries, bytes } = info;
    return {
      documents,
      entries,
      seconds,
      tuningSeconds,
      settings: usedSettings(info.settings),
      entriesPerSecond: counts.entries / seconds,
      bytes: bytes.total,
      skipped,
      resumedEntries,
    };
  } finally {
    await model.close();
  }
}

/** @returns seconds it took */
async function selfTuneStore(
  store: string,
  model: LanguageModel,
  { onProgress, signal }: Pick<BuildRequest, 'onProgress' | 'signal'>,
): Promise<number> {
  const started = performance.now();
  const datastore = await Datastore.open(store);
  const index = await openIndex({ sources: datastore.keySources(), dim: datastore.keyDim });
  try {
    const retriever = new Retriever(datastore, index);
    const record = await selfTune({ datastore, model, retriever }, { onProgress, signal });
    if (record) await datastore.updateSettings(record);
  } finally {
    await Promise.all([index.close(), datastore.close()]);
  }
  return (performance.now() - started) / 1000;
}

function headerFor(
  { info, tokenizer }: LanguageModel,
  { window, stride, keyDtype }: { window: number; stride: number; keyDtype: 'fp16' | 'fp32' },
): StoreHeader {
  return {
    model: {
      name: portableName(info),
      family: info.family,
      file: info.file,
      contextLength: info.contextLength,
    },
    fingerprint: { ...info.fingerprint },
    key: { name: info.key ?? null, tensor: info.keyTensor, dim: info.keyDim, dtype: keyDtype },
    vocabSize: info.vocabSize,
    bos: tokenizer.bos,
    eos: tokenizer.eos,
    window,
    stride,
  };
}

/** A folder is stored as an absolute path, so that the store can be opened from anywhere; a hub id or a bundled name as it is. */
function portableName({ name, folder }: ModelInfo): string {
  return resolve(name) === resolve(folder) ? resolve(folder) : name;
}
