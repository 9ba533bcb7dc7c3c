/**
 * Perplexity of the model alone and of the mixture in one pass, every target scored once.
 *
 * Reported per token (exp of the mean negative log-likelihood), per word and as bits per byte, because perplexities per
 * token of different tokenizers cannot be compared.
 */
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { LanguageModel, ScoredWindow } from '../model/language-model.ts';
import { breakdownOf } from './breakdown.ts';
import { ContinuousCache } from './continuous-cache.ts';
import { MemoryFailures } from './index-failure.ts';
import { readLanes, type Step, type TextLane } from './read-lanes.ts';
import { readTokens, sourcesOf } from './read-tokens.ts';
import { Lane, Recaller, type RecallerOptions } from './recall.ts';
import { interpolateAs } from './reference-semantics.ts';
import type { Retriever } from './retriever.ts';
import { countWords, summarize } from './summarize.ts';
import { noteTarget, type TargetNotes, targetNotes } from './target-notes.ts';
import { tokenCounts } from './token-counts.ts';
import { reportTokens } from './token-report.ts';
import { Trust } from './trust.ts';
import type { EvaluateRequest, Evaluation, Progress } from './types.ts';
import { usedSettings } from './used-settings.ts';
import { votedFor, Weigher } from './weigh.ts';
import { planWindows, type Window, type WindowPlan } from './windows.ts';

/** Positions handed to the model at once: enough to batch, little enough to show progress. */
const POSITIONS_AT_ONCE = 8192;

/** One scored document, target by target. Shapes: T targets. */
export interface ScoredDocument {
  document: SourceDocument;
  bytes: number;
  words: number;
  /** (T) token ids. */
  targets: Int32Array;
  /** (T) log p_LM. */
  lm: Float64Array;
  /** (T) log p of the mixture. */
  mixture: Float64Array;
  /** What was known of each target, when it is to be told. */
  notes?: TargetNotes;
}

export interface ScoreOptions
  extends WindowPlan,
    Pick<RecallerOptions, 'settings' | 'exclude' | 'signal'> {
  onTargets?: (count: number) => void;
  /** Told of targets that were left to the model, since the index could not be searched. */
  onFailure?: (targets: number, reason: string) => void;
  /** Targets still wanted; a document is cut there. */
  maxTokens?: number;
  /** Whether `notes` are taken. Default false. */
  withNotes?: boolean;
}

/** Scores one document under both distributions. Errors: `ABORTED`. */
export async function scoreDocument(
  document: SourceDocument,
  model: LanguageModel,
  retriever: Retriever,
  options: ScoreOptions,
): Promise<ScoredDocument> {
  const recaller = new Recaller(retriever, options);
  for await (const scored of scoreDocuments([document], model, recaller, options)) return scored;
  throw new Error('A document has one target at least.');
}

/** A document on its way. Shapes as in `ScoredDocument`. */
interface Reading
  extends Pick<ScoredDocument, 'document' | 'targets' | 'lm' | 'mixture' | 'notes'> {
  inputs: Int32Array;
  sourceIds: Int32Array | undefined;
  /** Of all its targets, those that are scored: T. */
  wanted: number;
  /** What has been read of it, when that is remembered. */
  cache: ContinuousCache | undefined;
  trust: Trust;
}

/** A window of a document, and whether it is the document's last. */
interface Part {
  reading: Reading;
  window: Window;
  isLast: boolean;
}

/** Scores documents, in their order. While some windows are searched, the model reads the next. */
async function* scoreDocuments(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  recaller: Recaller,
  options: ScoreOptions,
): AsyncGenerator<ScoredDocument> {
  const score = (parts: Part[]): Promise<ScoredWindow[]> => {
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The evaluation was stopped.');
    const cut = (of: 'inputs' | 'targets') =>
      parts.map(({ reading, window: { start, length } }) =>
        reading[of].subarray(start, start + length),
      );
    const sources = sourcesOf(parts.map(({ reading }) => reading));
    return model.score(cut('inputs'), cut('targets'), { signal: options.signal, sources });
  };
  const weigher = new Weigher(options.settings);
  for await (const [parts, scored] of ahead(batches(documents, model, options), score)) {
    await mixParts(parts, scored, { recaller, weigher, options });
    for (const { reading, isLast } of parts) if (isLast) yield scoredDocument(reading, model);
  }
}

/** Windows that the model reads together, of one document or of several. */
async function* batches(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  options: ScoreOptions,
): AsyncGenerator<Part[]> {
  let batch: Part[] = [];
  let held = 0;
  let left = options.maxTokens ?? Number.POSITIVE_INFINITY;
  for await (const document of documents) {
    const reading = await openReading(document, model, { ...options, maxTokens: left });
    left -= reading.wanted;
    const windows = [...planWindows(reading.wanted, options)];
    for (const [i, window] of windows.entries()) {
      batch.push({ reading, window, isLast: i === windows.length - 1 });
      held += window.length;
      if (held < POSITIONS_AT_ONCE) continue;
      yield batch;
      batch = [];
      held = 0;
    }
    if (left <= 0) break;
  }
  if (batch.length > 0) yield batch;
}

async function openReading(
  document: SourceDocument,
  model: LanguageModel,
  { settings, maxTokens = Number.POSITIVE_INFINITY, withNotes = false }: ScoreOptions,
): Promise<Reading> {
  const { inputs, targets, sourceIds } = await readTokens(document, model);
  const wanted = Math.min(targets.length, maxTokens);
  return {
    document,
    inputs,
    targets,
    sourceIds,
    wanted,
    lm: new Float64Array(wanted),
    mixture: new Float64Array(wanted),
    cache: settings.cache && (await ContinuousCache.open(model.info.keyDim)),
    trust: new Trust(),
    ...(withNotes && { notes: targetNotes(wanted) }),
  };
}

/** Each item with what `work` made of it, in order; the next item's work is begun before one is given out. */
async function* ahead<Item, Result>(
  items: AsyncIterable<Item>,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<[Item, Result]> {
  let before: [Item, Promise<Result>] | undefined;
  for await (const item of items) {
    const result = work(item);
    // When the one before fails first, this one's failure must not go unhandled.
    result.catch(() => {});
    if (before) yield [before[0], await before[1]];
    before = [item, result];
  }
  if (before) yield [before[0], await before[1]];
}

interface Mixing {
  recaller: Recaller;
  weigher: Weigher;
  options: ScoreOptions;
}

/** Mixes the targets that each window is the first to reach. */
async function mixParts(
  parts: readonly Part[],
  scored: readonly ScoredWindow[],
  { recaller, weigher, options }: Mixing,
): Promise<void> {
  const { semantics = 'exact' } = options.settings;
  const lanes = parts.map((part, i) => laneOf(part, scored[i]!));
  const mix = ({ lane, at, recollection }: Step): void => {
    const { reading, window } = parts[lane]!;
    const i = window.start + window.seen + at;
    const target = reading.targets[i]!;
    const lm = reading.lm[i]!;
    const { lambda, weights } = weigher.weigh(recollection);
    const voted = lambda > 0 ? votedFor(target, recollection, weights) : 0;
    reading.mixture[i] = interpolateAs(semantics, { lm, knn: Math.log(voted), lambda });
    if (reading.notes) noteTarget(reading.notes, i, { recollection, lambda, voted });
    if (recollection.failed !== undefined) options.onFailure?.(1, recollection.failed);
  };
  for await (const steps of readLanes(lanes, recaller, { ...options, what: 'evaluation' })) {
    for (const step of steps) mix(step);
    options.onTargets?.(steps.length);
  }
  const breather = new Breather();
  for (const { reading, window } of parts) {
    if (options.settings.gate) trustTargets(reading, window);
    reading.cache?.forgetBefore(window.start + window.length);
    await breather.pause();
  }
}

/** Keeps the model's own log-probabilities of the window's new targets, and remembers their states. */
function laneOf({ reading, window }: Part, { keys, logProbs, best }: ScoredWindow): TextLane {
  const { start, length, seen } = window;
  const d = keys.length / length;
  const queries = keys.subarray(seen * d);
  const targets = reading.targets.subarray(start + seen, start + length);
  reading.lm.set(logProbs.subarray(seen), start + seen);
  for (let i = 0; reading.cache && i < targets.length; i++)
    reading.cache.add(queries.subarray(i * d, (i + 1) * d), targets[i]!);
  return {
    lane: new Lane(),
    targets,
    best: best.subarray(seen),
    queries,
    start: start + seen,
    cache: reading.cache,
  };
}

/** What the text itself has shown of the memory's use, target after target. */
function trustTargets(
  { lm, mixture, trust, notes }: Reading,
  { start, length, seen }: Window,
): void {
  for (let i = start + seen; i < start + length; i++) {
    // Where memory says nothing it is neither right nor wrong.
    if (mixture[i] === lm[i]) continue;
    if (notes) notes.lambdas[i]! *= trust.share;
    mixture[i] = trust.next(mixture[i]!, lm[i]!);
  }
}

function scoredDocument(
  { document, targets, wanted, lm, mixture, notes }: Reading,
  model: LanguageModel,
): ScoredDocument {
  const text =
    wanted < targets.length ? model.tokenizer.decode(targets.subarray(0, wanted)) : document.text;
  return {
    document,
    bytes: Buffer.byteLength(text),
    words: countWords(text),
    targets: targets.subarray(0, wanted),
    lm,
    mixture,
    ...(notes && { notes }),
  };
}

export interface EvaluateOptions
  extends Omit<ScoreOptions, 'withNotes'>,
    Pick<EvaluateRequest, 'breakdown' | 'onTokens'> {
  onProgress?: (progress: Progress) => void;
}

/** Scores all documents and sums up. Errors: `NO_DOCUMENTS` when there is nothing to score, `ABORTED`. */
export async function evaluate(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  retriever: Retriever,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const started = performance.now();
  const searchedBefore = retriever.searchMs;
  const scored: ScoredDocument[] = [];
  let tokens = 0;
  const failures = new MemoryFailures();
  const { breakdown = false, onTokens } = options;
  const withNotes = breakdown || onTokens !== undefined;
  const counts = withNotes ? await tokenCounts(retriever.datastore) : new Float64Array(0);
  const watched: ScoreOptions = {
    ...options,
    withNotes,
    onTargets: (count) => {
      tokens += count;
      options.onProgress?.({ done: tokens, unit: 'tokens', phase: 'evaluating' });
    },
    onFailure: (targets, reason) => failures.add(targets, reason),
  };
  const recaller = new Recaller(retriever, watched);
  for await (const one of scoreDocuments(documents, model, recaller, watched)) {
    scored.push(one);
    await onTokens?.(reportTokens(one, counts, model));
  }
  if (tokens === 0) throw new KnnLMError('NO_DOCUMENTS', 'There is no text to evaluate.');
  const { searched } = recaller.counts;
  return {
    ...summarize(scored),
    settings: usedSettings(options.settings),
    searched: searched / tokens,
    ...(breakdown && { breakdown: breakdownOf(scored, counts) }),
    seconds: (performance.now() - started) / 1000,
    retrievalSeconds: (retriever.searchMs - searchedBefore) / 1000,
    ...failures.result,
  };
}
