/**
 * Perplexity of the model alone and of the mixture in one pass, every target scored once.
 *
 * Reported per token (exp of the mean negative log-likelihood), per word and as bits per byte, because perplexities per
 * token of different tokenizers cannot be compared.
 */
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import { Breather } from '../math/breather.ts';
import type { IdRange } from '../math/vectors.ts';
import type { LanguageModel, ScoredWindow } from '../model/language-model.ts';
import { usedSettings } from './gate.ts';
import { MemoryFailures, orWithoutMemory } from './index-failure.ts';
import { readTokens, sourcesOf } from './read-tokens.ts';
import { neighborRow, type Retriever } from './retriever.ts';
import { countWords, summarize } from './summarize.ts';
import { TargetMixer } from './target-mixer.ts';
import type { Evaluation, Progress, ResolvedSettings } from './types.ts';
import { planWindows, type Window, type WindowPlan } from './windows.ts';

/** Positions handed to the model at once: enough to batch, little enough to show progress. */
const POSITIONS_AT_ONCE = 8192;
/** Queries searched at once: their neighbors take 12 bytes each, 12 MB for k = 1,024. */
const QUERIES_AT_ONCE = 1024;

/** One scored document, target by target. Shapes: T targets, d key width. */
export interface ScoredDocument {
  id: string;
  bytes: number;
  words: number;
  /** (T) token ids. */
  targets: Int32Array;
  /** (T) log p_LM. */
  lm: Float64Array;
  /** (T) log p of the mixture. */
  mixture: Float64Array;
}

export interface ScoreOptions extends WindowPlan {
  settings: ResolvedSettings;
  exclude?: readonly IdRange[];
  onTargets?: (count: number) => void;
  /** Told of targets that were left to the model, since the index could not be searched. */
  onFailure?: (targets: number, reason: string) => void;
  /** Targets still wanted; a document is cut there. */
  maxTokens?: number;
  signal?: AbortSignal;
}

/** Scores one document under both distributions. Errors: `ABORTED`. */
export async function scoreDocument(
  document: SourceDocument,
  model: LanguageModel,
  retriever: Retriever,
  options: ScoreOptions,
): Promise<ScoredDocument> {
  for await (const scored of scoreDocuments([document], model, retriever, options)) return scored;
  throw new Error('A document has one target at least.');
}

/** A document on its way. Shapes as in `ScoredDocument`. */
interface Reading {
  document: SourceDocument;
  inputs: Int32Array;
  targets: Int32Array;
  sourceIds: Int32Array | undefined;
  /** Of all its targets, those that are scored: T. */
  wanted: number;
  lm: Float64Array;
  mixture: Float64Array;
  mixer: TargetMixer;
}

/** Windows of a document that the model reads together. */
interface Part {
  reading: Reading;
  group: Window[];
  isLast: boolean;
}

/** Scores documents one after another. While one group of windows is searched, the model reads the next. */
async function* scoreDocuments(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  retriever: Retriever,
  options: ScoreOptions,
): AsyncGenerator<ScoredDocument> {
  const score = ({ reading, group }: Part): Promise<ScoredWindow[]> => {
    const { inputs, targets } = reading;
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The evaluation was stopped.');
    return model.score(
      group.map((w) => inputs.subarray(w.start, w.start + w.length)),
      group.map((w) => targets.subarray(w.start, w.start + w.length)),
      { signal: options.signal, sources: sourcesOf(group.map(() => reading)) },
    );
  };
  for await (const [part, scored] of ahead(parts(documents, model, options), score)) {
    const { reading, isLast } = part;
    const range = gather(part, scored, model.info.keyDim);
    await mixTargets(reading, range, retriever, options);
    if (isLast) yield scoredDocument(reading, model);
  }
}

async function* parts(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  model: LanguageModel,
  options: ScoreOptions,
): AsyncGenerator<Part> {
  let left = options.maxTokens ?? Number.POSITIVE_INFINITY;
  for await (const document of documents) {
    const { inputs, targets, sourceIds } = await readTokens(document, model);
    const wanted = Math.min(targets.length, left);
    left -= wanted;
    const reading: Reading = {
      document,
      inputs,
      targets,
      sourceIds,
      wanted,
      lm: new Float64Array(wanted),
      mixture: new Float64Array(wanted),
      mixer: new TargetMixer(options.settings),
    };
    const groups = [...windowGroups(wanted, options)];
    for (const group of groups) yield { reading, group, isLast: group === groups.at(-1) };
    if (left <= 0) return;
  }
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

/** Targets [from, to) with their queries (to - from, d). */
interface TargetRange {
  from: number;
  to: number;
  queries: Float32Array;
  /** d */
  dim: number;
}

/** Keeps the model's own log-probabilities of the targets that a group adds. */
function gather(
  { reading, group }: Part,
  scored: readonly ScoredWindow[],
  dim: number,
): TargetRange {
  const from = group[0]!.start + group[0]!.seen;
  const to = group.at(-1)!.start + group.at(-1)!.length;
  const queries = new Float32Array((to - from) * dim);
  for (const [g, { start, seen }] of group.entries()) {
    reading.lm.set(scored[g]!.logProbs.subarray(seen), start + seen);
    queries.set(scored[g]!.keys.subarray(seen * dim), (start + seen - from) * dim);
  }
  return { from, to, queries, dim };
}

async function mixTargets(
  { targets, lm, mixture, mixer }: Reading,
  { from, to, queries, dim }: TargetRange,
  retriever: Retriever,
  { settings, exclude, signal, onTargets, onFailure }: ScoreOptions,
): Promise<void> {
  const breather = new Breather();
  for (let start = from; start < to; start += QUERIES_AT_ONCE) {
    const end = Math.min(to, start + QUERIES_AT_ONCE);
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'The evaluation was stopped.');
    const found =
      mixer.needsNeighbors &&
      (await orWithoutMemory(settings, () =>
        retriever.retrieve(queries.subarray((start - from) * dim, (end - from) * dim), {
          k: settings.k,
          within: settings.lambdas?.map(({ range }) => range),
          exclude,
          signal,
        }),
      ));
    if (!found || 'failed' in found) {
      mixture.set(lm.subarray(start, end), start);
      if (found) onFailure?.(end - start, found.failed);
    } else {
      for (let i = start; i < end; i++) {
        mixture[i] = mixer.next(targets[i]!, lm[i]!, neighborRow(found, i - start));
        if ((i & 31) === 0) await breather.pause();
      }
    }
    onTargets?.(end - start);
  }
}

function scoredDocument(
  { document, targets, wanted, lm, mixture }: Reading,
  model: LanguageModel,
): ScoredDocument {
  const text =
    wanted < targets.length ? model.tokenizer.decode(targets.subarray(0, wanted)) : document.text;
  return {
    id: document.id,
    bytes: Buffer.byteLength(text),
    words: countWords(text),
    targets: targets.subarray(0, wanted),
    lm,
    mixture,
  };
}

/** Windows in order, gathered until they hold enough positions for the model to batch. */
function* windowGroups(positions: number, plan: WindowPlan): Generator<Window[]> {
  let group: Window[] = [];
  let held = 0;
  for (const window of planWindows(positions, plan)) {
    group.push(window);
    held += window.length;
    if (held >= POSITIONS_AT_ONCE) {
      yield group;
      group = [];
      held = 0;
    }
  }
  if (group.length > 0) yield group;
}

export interface EvaluateOptions extends ScoreOptions {
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
  const watched: ScoreOptions = {
    ...options,
    onTargets: (count) => {
      tokens += count;
      options.onProgress?.({ done: tokens, unit: 'tokens', phase: 'evaluating' });
    },
    onFailure: (targets, reason) => failures.add(targets, reason),
  };
  for await (const one of scoreDocuments(documents, model, retriever, watched)) scored.push(one);
  if (tokens === 0) throw new KnnLMError('NO_DOCUMENTS', 'There is no text to evaluate.');
  return {
    ...summarize(scored),
    settings: usedSettings(options.settings),
    seconds: (performance.now() - started) / 1000,
    retrievalSeconds: (retriever.searchMs - searchedBefore) / 1000,
    ...failures.result,
  };
}
