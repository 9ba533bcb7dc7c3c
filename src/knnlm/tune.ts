/**
 * Tunes k, λ and T on held-out text: neighbors are retrieved once and cached, then every setting is tried offline.
 * Set by hand these three are why kNN-LM fails to reproduce: T has the scale of a model's squared distances, and λ
 * depends on how far the text is from what the model was trained on.
 */
import { documentHash } from '../datastore/hash.ts';
import type { RetrievalSettings, SettingsRecord, SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { MOST_NEIGHBORS } from './cached-neighbors.ts';
import { collectNeighbors } from './collect-neighbors.ts';
import type { Entries } from './entries.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { readTokens } from './read-tokens.ts';
import type { Retriever } from './retriever.ts';
import { runSettingsSearch } from './run-settings-search.ts';
import type { SettingsPoint } from './search-settings.ts';
import { type Overlap, type OverlapText, textOverlap } from './text-overlap.ts';
import type { TrainedGate } from './train-gate.ts';
import { curvesOf, keptCurves, type TuningCurves } from './tuning-curves.ts';
import { type TuningWarning, tuningWarnings } from './tuning-warnings.ts';
import { TuningWindows } from './tuning-windows.ts';
import type { Progress } from './types.ts';

/** 10⁵ targets with 1,024 neighbors each are 424 MB of cache. */
const MAX_TOKENS = 100_000;
/** With fewer documents, windows are resampled: an interval from a handful of documents means little. */
const FEWEST_DOCUMENTS_TO_RESAMPLE = 20;

export interface TuneRequest {
  /** Most neighbors considered; smaller k are tried too. Default 1,024. */
  k?: number;
  /** Targets at most; of a longer text an even sample of windows is taken. More take more memory. Default 100,000. */
  maxTokens?: number;
  excludeDocuments?: readonly string[];
  /** Names of the open datastores to read. Default: all of them. */
  stores?: readonly string[];
  /** Whether the datastore's settings are replaced. Default true for one datastore; those of several belong to none. */
  save?: boolean;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

export interface Tuning {
  settings: RetrievalSettings;
  perplexity: {
    /** Of the model alone. */
    lm: number;
    /** Of the mixture, on the text that the settings were tuned on. */
    knnlm: number;
    /** 95% bootstrap interval of `knnlm`. */
    interval: [number, number];
    /** 95% bootstrap interval of the ratio of perplexities, mixture over model alone. */
    ratio: [number, number];
    /** Of the mixture when λ and T are tuned on one half of the text and measured on the other, both ways. */
    crossValidated: number;
  };
  /** Undefined when there was too little text to fit one. */
  gate?: {
    /** With the gate in place of λ and T, on the text it was fitted to. */
    perplexity: number;
    /** The same, fitted to one half of the text and measured on the other, both ways. */
    crossValidated: number;
    /** Whether it beats the constant even so; then it is stored and used. */
    used: boolean;
  };
  documents: number;
  /** Targets that were searched. */
  tokens: number;
  /** Targets of the text. */
  tokensOfText: number;
  curves: TuningCurves;
  overlap: Overlap;
  warnings: TuningWarning[];
  /** Whether the datastore now uses these settings. */
  saved: boolean;
  /** Wall time. */
  seconds: number;
  /** Spent in nearest-neighbor search, part of `seconds`. */
  retrievalSeconds: number;
  /** Spent on the search for settings, part of `seconds`. */
  tuningSeconds: number;
}

export interface TuneParts {
  datastore: Entries;
  model: LanguageModel;
  retriever: Retriever;
}

export interface TuneOptions extends Omit<TuneRequest, 'excludeDocuments' | 'stores' | 'save'> {
  exclude?: readonly IdRange[];
  /** Keeps what was found. */
  save?: (settings: SettingsRecord) => Promise<void>;
}

/** Errors: `NO_DOCUMENTS` when there is no text, `INVALID_ARGUMENT`, `ABORTED`, those of `save`. */
export async function tune(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  parts: TuneParts,
  request: TuneOptions,
): Promise<Tuning> {
  const started = performance.now();
  const { datastore, retriever } = parts;
  const k = atLeastOne('k', request.k ?? DEFAULT_SETTINGS.k);
  if (k > MOST_NEIGHBORS) {
    throw new KnnLMError('INVALID_ARGUMENT', `k must be at most ${MOST_NEIGHBORS} here, not ${k}.`);
  }
  const most = atLeastOne('The number of tokens', request.maxTokens ?? MAX_TOKENS);
  const sample = new TuningWindows(datastore.header, most);
  const texts = await readText(documents, parts.model, sample, request);
  if (texts.length === 0) {
    throw new KnnLMError('NO_DOCUMENTS', 'There is no text to tune on.');
  }
  const windows = sample.take();
  for (const { document, targets } of windows) texts[document]!.windows.push(targets);
  const searchedBefore = retriever.searchMs;
  const cache = await collectNeighbors(windows, parts, {
    ...request,
    k,
    unitIsDocument: sample.documents >= FEWEST_DOCUMENTS_TO_RESAMPLE,
    phase: 'retrieving',
  });
  const retrievalSeconds = (retriever.searchMs - searchedBefore) / 1000;
  const searching = performance.now();
  const table = cache.table();
  const { search: found, gate } = await runSettingsSearch(table, request.signal);
  const tuningSeconds = (performance.now() - searching) / 1000;
  const overlap = await textOverlap(texts, datastore);
  const { interval, ratio } = found;
  const settings = settingsOf(found.best, k, table.k);
  const tuning: Tuning = {
    settings,
    perplexity: {
      lm: found.lm,
      knnlm: found.best.perplexity,
      interval,
      ratio,
      crossValidated: found.crossValidated,
    },
    ...(gate && { gate: gateReport(gate) }),
    documents: sample.documents,
    tokens: table.targets,
    tokensOfText: sample.targets,
    curves: curvesOf(found),
    overlap,
    warnings: tuningWarnings({ found, overlap, ratio, table, entries: datastore.entries }),
    saved: request.save !== undefined,
    seconds: 0,
    retrievalSeconds,
    tuningSeconds,
  };
  if (request.save) {
    const record = settingsRecord(tuning, texts, datastore);
    const used = tuning.gate?.used && gate;
    await request.save({ ...record, ...(used && { gate: used.gate }) });
  }
  return { ...tuning, seconds: (performance.now() - started) / 1000 };
}

/** Tokenizes the documents into the sample. */
async function readText(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  sample: TuningWindows,
  { onProgress, signal }: Pick<TuneRequest, 'onProgress' | 'signal'>,
): Promise<OverlapText[]> {
  const texts: OverlapText[] = [];
  for await (const document of documents) {
    const { id, text, sourceText } = document;
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'The tuning was stopped.');
    sample.add(await readTokens(document, model));
    texts.push({ id, hash: documentHash(text, sourceText), windows: [] });
    onProgress?.({ done: sample.targets, unit: 'tokens', phase: 'reading' });
  }
  return texts;
}

/** Where all there is was best, the k asked for stays: the datastore may grow. */
export function settingsOf(best: SettingsPoint, asked: number, most: number): RetrievalSettings {
  const k = best.k === most ? asked : best.k;
  return { k, lambda: best.lambda, temperature: best.temperature };
}

export function gateReport({ perplexity, crossValidated, constant }: TrainedGate) {
  return { perplexity, crossValidated, used: crossValidated < constant };
}

/** What the manifest keeps: the settings, and what they were tuned on. */
function settingsRecord(
  { settings, perplexity, gate, documents, tokens, curves }: Tuning,
  texts: readonly OverlapText[],
  datastore: Entries,
): SettingsRecord {
  return {
    ...settings,
    source: 'tuned',
    evidence: {
      documents,
      tokens,
      text: documentHash(texts.map(({ hash }) => hash).join('\n')),
      perplexity: { ...perplexity },
      ...(gate && { gate }),
      curves: keptCurves(curves, settings.temperature),
      entries: datastore.entries,
    },
  };
}

function atLeastOne(what: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${what} must be a whole number of at least 1, not ${value}.`,
  );
}
