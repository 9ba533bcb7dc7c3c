/**
 * Translation with a memory of pairs (Khandelwal et al. 2021): the decoder's distribution over the next target token is mixed with that of
 * the nearest stored states, each of a target that was written for another source. Greedy, or by beam search.
 */
import { KnnLMError } from '../errors.ts';
import type { LanguageModel, ReadStates } from '../model/language-model.ts';
import type { PairReading } from '../model/pair-reading.ts';
import { beamSearch, type FinishedHypothesis } from './beam-search.ts';
import { citeEntries, type EntryHit } from './cite.ts';
import { candidatesOf, type GenerateOptions, supporters } from './generate.ts';
import type { GeneratedToken, TranslateRequest, Translation } from './generation-types.ts';
import { MemoryFailures } from './index-failure.ts';
import { predictRows } from './predict-rows.ts';
import { sourceTokens } from './read-tokens.ts';
import type { Retriever } from './retriever.ts';
import type { Prediction } from './text-memory.ts';
import { usedSettings } from './used-settings.ts';
import type { WindowPlan } from './windows.ts';

export interface TranslateOptions
  extends Omit<TranslateRequest, 'knn' | 'excludeDocuments'>,
    WindowPlan,
    Pick<GenerateOptions, 'settings' | 'exclude'> {}

/** Tokens of a translation at most, when nothing is said: of a language that needs twice as many, and of a short source some more. */
const TARGETS_PER_SOURCE = 2;
const MORE_TARGETS = 32;
/** A search holds so many rows of logits, and runs so many texts side by side. */
const MOST_BEAMS = 64;

/** Errors: `INVALID_ARGUMENT`, `INVALID_DOCUMENT` for a source that is too long, `ABORTED`. */
export async function translate(
  sourceText: string,
  model: LanguageModel,
  retriever: Retriever,
  options: TranslateOptions,
): Promise<Translation> {
  const pairs = model.info.pairs!;
  const source = (await sourceTokens({ sourceText, source: 'The text' }, model))!;
  const search = searchOptions(options, pairs, source.length);
  const decoder = await model.startDecoding(source);
  const failures = new MemoryFailures();
  const predictAll = async (states: ReadStates, rows: number): Promise<Prediction[]> => {
    if (options.signal?.aborted) throw new KnnLMError('ABORTED', 'The translation was stopped.');
    return await predictRows(states, rows, retriever, options);
  };
  let found: FinishedHypothesis<Prediction>;
  try {
    const { key, logProbs } = await decoder.read([model.tokenizer.bos, ...pairs.targetStart]);
    const [first] = await predictAll({ keys: key, logProbs }, 1);
    found = await beamSearch<Prediction>(first!, {
      ...search,
      given: pairs.targetStart.length,
      stopTokens: model.info.stopTokens,
      forbidden: pairs.forbidden,
      logProbsOf: (row) => row.logProbs,
      step: async (parents, tokens) =>
        predictAll(await decoder.step(parents, tokens), tokens.length),
    });
  } finally {
    await decoder.close();
  }
  const isWhole = model.info.stopTokens.includes(found.path.at(-1)!.token);
  const path = isWhole ? found.path.slice(0, -1) : found.path;
  for (const { row } of found.path) if (row.failed !== undefined) failures.add(1, row.failed);
  const stream = model.tokenizer.stream();
  const tokens: GeneratedToken[] = [];
  for (const { token, row } of path) {
    tokens.push(await describeToken(token, stream.push(token), row));
  }
  const last = tokens.at(-1);
  if (last) last.text += stream.end();
  return {
    source: sourceText,
    text: tokens.map(({ text }) => text).join(''),
    tokens,
    logProb: found.logProb,
    score: found.score,
    finishReason: isWhole ? 'stop' : 'length',
    beams: search.beams,
    settings: usedSettings(options.settings),
    ...failures.result,
  };

  async function describeToken(
    id: number,
    text: string,
    { logProbs, lm, votes, voters, weights, failed }: Prediction,
  ): Promise<GeneratedToken> {
    const wanted = options.neighbors ?? 4;
    const hits: EntryHit[] = supporters(id, voters, weights, wanted);
    const { tokenizer } = model;
    return {
      id,
      text,
      p: Math.exp(logProbs[id]!),
      pLm: Math.exp(lm[id]!),
      pKnn: Math.exp(votes.of(id)),
      neighbors: await citeEntries(hits, {
        datastore: retriever.datastore,
        tokenizer,
        around: options.around ?? 16,
      }),
      ...(options.candidates && {
        candidates: candidatesOf({ logProbs, lm, votes }, options.candidates, tokenizer),
      }),
      ...(failed !== undefined && { withoutMemory: true as const }),
    };
  }
}

/** Errors: `INVALID_ARGUMENT` with the value seen. */
function searchOptions(
  { beams, lengthPenalty, maxTokens, window }: TranslateOptions,
  pairs: PairReading,
  sourceLength: number,
): { beams: number; lengthPenalty: number; maxTokens: number } {
  const given = 1 + pairs.targetStart.length;
  const most = window - given + 1;
  const wanted = maxTokens ?? Math.min(most, TARGETS_PER_SOURCE * sourceLength + MORE_TARGETS);
  const search = {
    beams: beams ?? pairs.beams,
    lengthPenalty: lengthPenalty ?? pairs.lengthPenalty,
    maxTokens: wanted,
  };
  const refuse = (what: string): never => {
    throw new KnnLMError('INVALID_ARGUMENT', what);
  };
  const isCount = (value: number, limit: number): boolean =>
    Number.isInteger(value) && value >= 1 && value <= limit;
  if (!isCount(search.beams, MOST_BEAMS))
    refuse(
      `The number of beams must be a whole number from 1 to ${MOST_BEAMS}, not ${search.beams}.`,
    );
  if (!isCount(wanted, most))
    refuse(
      `The number of tokens must be a whole number from 1 to ${most}, what the store's windows hold, not ${wanted}.`,
    );
  if (!Number.isFinite(search.lengthPenalty))
    refuse(`The length penalty must be a number, not ${search.lengthPenalty}.`);
  return search;
}
