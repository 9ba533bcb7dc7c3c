/**
 * Tunes k, λ and T on held-out text: neighbors are retrieved once and cached, then every setting is tried offline.
 * Set by hand these three are why kNN-LM fails to reproduce: T has the scale of a model's squared distances, and λ
 * depends on how far the text is from what the model was trained on.
 */
import { documentHash } from '../datastore/hash.ts';
import type {
  CacheSettings,
  RetrievalSettings,
  SettingsRecord,
  SourceDocument,
} from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel } from '../model/language-model.ts';
import { type Attempt, attemptFit } from './attempt-fit.ts';
import { MOST_NEIGHBORS } from './cached-evidence.ts';
import type { Entries } from './entries.ts';
import type { OfflineTuning, TunedParts } from './fit-offline.ts';
import { DEFAULT_SETTINGS } from './interpolate.ts';
import { readTokens } from './read-tokens.ts';
import { checkEffort } from './resolve-settings.ts';
import type { Retriever } from './retriever.ts';
import type { SettingsPoint } from './search-settings.ts';
import { checkWithin, type SearchBudget, type SpeedReport, speedUp } from './speed-ladder.ts';
import { type Overlap, type OverlapText, textOverlap } from './text-overlap.ts';
import type { TrainedGate } from './train-gate.ts';
import type { SkipPoint, TrainedSkip } from './train-skip.ts';
import { curvesOf, keptCurves, type TuningCurves } from './tuning-curves.ts';
import { type TuningWarning, tuningWarnings } from './tuning-warnings.ts';
import { TuningWindows } from './tuning-windows.ts';
import type { Progress, UsedSettings } from './types.ts';

/** 10⁵ targets with 1,024 neighbors each are 424 MB of cache. */
const MAX_TOKENS = 100_000;
/** With fewer documents, windows are resampled: an interval from a handful of documents means little. */
const FEWEST_DOCUMENTS_TO_RESAMPLE = 20;

export interface TuneRequest {
  /** Most neighbors considered; smaller k are tried too. Default 1,024. */
  k?: number;
  /** Targets at most; of a longer text an even sample of windows is taken. More take more memory. Default 100,000. */
  maxTokens?: number;
  /** Whether remembering the text so far is considered. Default true. */
  cache?: boolean;
  /** Whether following neighbors from token to token is considered. Default true. */
  pointers?: boolean;
  /** Whether it is learned which searches to skip; needs pointers. Default true. */
  adaptive?: boolean;
  /** Share of the usual lists that searches read (`RetrievalRequest`), here and by default from then on. Default 1. */
  effort?: number;
  /**
   * Share of perplexity that speed may cost: the quickest of some settings with fewer neighbors and fewer lists that cost no more is
   * taken (`speed-ladder.ts`). Then an effort cannot be given. Default: none is tried.
   */
  within?: number;
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
  /** What is used beside them: only what lowered perplexity, and the effort asked for. */
  parts: Pick<UsedSettings, 'cache' | 'pointers' | 'adaptive' | 'effort'>;
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
    /** `crossValidated` without and with what was considered beside the neighbors; the best that is no richer than it pays is used. */
    tried: { cache: boolean; pointers: boolean; crossValidated: number }[];
  };
  /** Skipping searches, on the text it was learned on. Undefined where it was not. */
  skip?: {
    /** Perplexity when every search is made. */
    always: number;
    /** By ascending share skipped. */
    points: SkipPoint[];
  };
  /** With `within`. */
  speed?: SpeedReport;
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
  const allowed = allowedParts(request, parts.model);
  const effort = checkEffort(request.effort ?? 1);
  const within = checkWithin(request);
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
  const unitIsDocument = sample.documents >= FEWEST_DOCUMENTS_TO_RESAMPLE;
  const attempt = (budget: SearchBudget, phase: string): Promise<Attempt> =>
    attemptFit(windows, parts, { ...request, ...budget, allowed, unitIsDocument, phase });
  const first = await attempt({ k, effort }, 'retrieving');
  const { chosen, attempts, speed } = await speedUp(first, {
    within,
    attempt: (budget) => attempt(budget, `trying k ${budget.k}`),
    index: retriever.index,
  });
  const { fitted, step, table } = chosen;
  const { search: found, gate, skip } = fitted;
  const overlap = await textOverlap(texts, datastore);
  const { interval, ratio } = found;
  const own = tunedSettings(fitted, step, table.k);
  const tuning: Tuning = {
    settings: { k: own.k, lambda: own.lambda, temperature: own.temperature },
    parts: partsOf(own),
    perplexity: {
      lm: found.lm,
      knnlm: found.best.perplexity,
      interval,
      ratio,
      crossValidated: found.crossValidated,
    },
    ...(gate && { gate: gateReport(gate) }),
    ...(skip && { skip: { always: skip.always, points: skip.points } }),
    ...(speed && { speed }),
    documents: sample.documents,
    tokens: table.targets,
    tokensOfText: sample.targets,
    curves: curvesOf(found),
    overlap,
    warnings: tuningWarnings({
      ...{ found, overlap, ratio, table },
      isForSpeed: chosen !== first,
      entries: datastore.entries,
    }),
    saved: request.save !== undefined,
    seconds: 0,
    retrievalSeconds: sumOf(attempts, ({ seconds }) => seconds.retrieval),
    tuningSeconds: sumOf(attempts, ({ seconds }) => seconds.tuning),
  };
  if (request.save) {
    const evidence = evidenceOf(tuning, texts, datastore);
    await request.save({ ...own, source: 'tuned', evidence });
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

/** Settings as they are stored, without where they come from. */
export type TunedSettings = Omit<SettingsRecord, 'source' | 'evidence'>;

/** Of pairs none: `refuseParts` in `resolve-settings.ts`. Errors: `INVALID_ARGUMENT`. */
export function allowedParts(
  { cache = true, pointers = true, adaptive = pointers }: Pick<TuneRequest, keyof TunedParts>,
  model: LanguageModel,
): TunedParts {
  if (model.info.pairs) return { cache: false, pointers: false, adaptive: false };
  if (adaptive && !pointers) {
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      'Searches are skipped where pointers take their place: leave pointers on, or leave out adaptive.',
    );
  }
  return { cache, pointers, adaptive };
}

/** What a text's fits come to. @param budget k asked for, and the effort that is kept @param most neighbors there were */
export function tunedSettings(
  { search, gate, cache, skip }: OfflineTuning,
  { k, effort }: SearchBudget,
  most: number,
): TunedSettings {
  const settings = {
    ...settingsOf(search.best, k, most),
    ...(effort !== 1 && { effort }),
  };
  if (gate && isUsed(gate)) {
    const share = skip && freeShare(skip);
    const follows = gate.parts.pointers || share !== undefined;
    return {
      ...settings,
      gate: gate.gate,
      ...(gate.parts.cache && cache && { cache }),
      ...(follows && { pointers: true as const }),
      ...(skip && { skip: skip.skip }),
      ...(share !== undefined && { adaptive: share }),
    };
  }
  return { ...settings, ...(isWorthIt(cache) && { cache }) };
}

function partsOf({ cache, pointers, adaptive, effort }: TunedSettings): Tuning['parts'] {
  return {
    ...(cache && { cache }),
    ...(pointers && { pointers }),
    ...(adaptive !== undefined && { adaptive }),
    ...(effort !== undefined && { effort }),
  };
}

/** Where all there is was best, the k asked for stays: the datastore may grow. */
function settingsOf(best: SettingsPoint, asked: number, most: number): RetrievalSettings {
  const k = best.k === most ? asked : best.k;
  return { k, lambda: best.lambda, temperature: best.temperature };
}

/** A smaller weight changes nothing that can be measured. */
const LEAST_CACHE_LAMBDA = 0.01;
const isWorthIt = (cache: CacheSettings | undefined): cache is CacheSettings =>
  cache !== undefined && cache.lambda >= LEAST_CACHE_LAMBDA;

const isUsed = ({ crossValidated, constant }: TrainedGate): boolean => crossValidated < constant;

/** Searches are skipped without being asked to where that costs no more perplexity than this share of it, */
const FREE_LOSS = 1e-3;
/** and where they are not too few to be worth it. */
const LEAST_SKIPPED = 0.1;

function freeShare({ always, points }: TrainedSkip): number | undefined {
  const free = points.filter(
    ({ skipped, perplexity }) => skipped >= LEAST_SKIPPED && perplexity <= always * (1 + FREE_LOSS),
  );
  const share = free.at(-1)?.skipped;
  return share === undefined ? undefined : Number(share.toFixed(3));
}

export function gateReport(gate: TrainedGate): NonNullable<Tuning['gate']> {
  const { perplexity, crossValidated, tried } = gate;
  return { perplexity, crossValidated, used: isUsed(gate), tried };
}

/** What the settings were tuned on, and what was measured. */
function evidenceOf(
  { settings, perplexity, gate, skip, speed, documents, tokens, curves }: Tuning,
  texts: readonly OverlapText[],
  datastore: Entries,
): Record<string, unknown> {
  return {
    documents,
    tokens,
    text: documentHash(texts.map(({ hash }) => hash).join('\n')),
    perplexity: { ...perplexity },
    ...(gate && { gate }),
    ...(skip && { skip }),
    ...(speed && { speed }),
    curves: keptCurves(curves, settings.temperature),
    entries: datastore.entries,
  };
}

const sumOf = <T>(values: readonly T[], of: (value: T) => number): number =>
  values.reduce((sum, value) => sum + of(value), 0);

function atLeastOne(what: string, value: number): number {
  if (Number.isInteger(value) && value >= 1) return value;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `${what} must be a whole number of at least 1, not ${value}.`,
  );
}
