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
import type { LanguageModel } from '../model/language-model.ts';
import { usedSettings } from './gate.ts';
import { readTokens } from './read-tokens.ts';
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
  const { settings } = options;
  const { inputs, targets } = await readTokens(document.text, model);
  const wanted = Math.min(targets.length, options.maxTokens ?? targets.length);
  const lm = new Float64Array(wanted);
  const mixed = new Float64Array(wanted);
  const mixer = new TargetMixer(settings);
  const breather = new Breather();
  const d = model.info.keyDim;
  for (const group of windowGroups(wanted, options)) {
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The evaluation was stopped.');
    const scored = await model.score(
      group.map((w) => inputs.subarray(w.start, w.start + w.length)),
      group.map((w) => targets.subarray(w.start, w.start + w.length)),
      { signal: options.signal },
    );
    const first = group[0]!.start + group[0]!.seen;
    const end = group.at(-1)!.start + group.at(-1)!.length;
    const queries = new Float32Array((end - first) * d);
    for (let g = 0; g < group.length; g++) {
      const { start, seen } = group[g]!;
      lm.set(scored[g]!.logProbs.subarray(seen), start + seen);
      queries.set(scored[g]!.keys.subarray(seen * d), (start + seen - first) * d);
    }
    for (let from = first; from < end; from += QUERIES_AT_ONCE) {
      const to = Math.min(end, from + QUERIES_AT_ONCE);
      await mixTargets(from, to, queries.subarray((from - first) * d, (to - first) * d));
      options.onTargets?.(to - from);
    }
  }
  const text =
    wanted < targets.length ? model.tokenizer.decode(targets.subarray(0, wanted)) : document.text;
  return {
    id: document.id,
    bytes: Buffer.byteLength(text),
    words: countWords(text),
    targets: targets.subarray(0, wanted),
    lm,
    mixture: mixed,
  };

  /** Fills mixture[from … to - 1]. @param queries (to - from, d) */
  async function mixTargets(from: number, to: number, queries: Float32Array): Promise<void> {
    if (!mixer.needsNeighbors) {
      mixed.set(lm.subarray(from, to), from);
      return;
    }
    const { exclude, signal } = options;
    const found = await retriever.retrieve(queries, {
      k: settings.k,
      within: settings.lambdas?.map(({ range }) => range),
      exclude,
      signal,
    });
    for (let i = from; i < to; i++) {
      mixed[i] = mixer.next(targets[i]!, lm[i]!, neighborRow(found, i - from));
      if ((i & 31) === 0) await breather.pause();
    }
  }
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
  const limit = options.maxTokens ?? Number.POSITIVE_INFINITY;
  for await (const document of documents) {
    const onTargets = (count: number): void => {
      tokens += count;
      options.onProgress?.({ done: tokens, unit: 'tokens', phase: 'evaluating' });
    };
    const left = limit - tokens;
    scored.push(
      await scoreDocument(document, model, retriever, { ...options, onTargets, maxTokens: left }),
    );
    if (tokens >= limit) break;
  }
  if (tokens === 0) throw new KnnLMError('NO_DOCUMENTS', 'There is no text to evaluate.');
  return {
    ...summarize(scored),
    settings: usedSettings(options.settings),
    seconds: (performance.now() - started) / 1000,
    retrievalSeconds: (retriever.searchMs - searchedBefore) / 1000,
  };
}
