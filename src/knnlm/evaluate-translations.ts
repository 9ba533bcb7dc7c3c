/** Translations of held-out pairs by the model alone and with the memory, each against its reference. */
import type { SourceDocument } from '../datastore/types.ts';
import { KnnLMError } from '../errors.ts';
import { bootstrapIntervals } from '../math/bootstrap.ts';
import type { Translation } from './generation-types.ts';
import {
  PAIR_COUNTS,
  pairCounts,
  scoresOf,
  type TranslationScores,
} from './translation-metrics.ts';
import type { Progress, UsedSettings } from './types.ts';

export interface TranslationEvaluation {
  pairs: number;
  lm: TranslationScores;
  knnlm: TranslationScores;
  /** 95% bootstrap intervals, pairs resampled (Koehn 2004): of BLEU, and of the difference, mixture less model alone. */
  interval: { lm: [number, number]; knnlm: [number, number]; difference: [number, number] };
  beams: number;
  settings: UsedSettings;
  /** Wall time. */
  seconds: number;
}

export interface EvaluateTranslationsOptions {
  /** By the model alone, or with the memory. */
  translate: (source: string, by: 'lm' | 'knnlm') => Promise<Translation>;
  onProgress?: (progress: Progress) => void;
  signal?: AbortSignal;
}

/** Errors: `NO_DOCUMENTS` when there is no pair, `INVALID_DOCUMENT` for a text that is none, `ABORTED`. */
export async function evaluateTranslations(
  documents: AsyncIterable<SourceDocument> | Iterable<SourceDocument>,
  { translate, onProgress, signal }: EvaluateTranslationsOptions,
): Promise<TranslationEvaluation> {
  const started = performance.now();
  const units: number[][] = [];
  let last: Translation | undefined;
  for await (const { text, sourceText, source } of documents) {
    if (signal?.aborted) throw new KnnLMError('ABORTED', 'The evaluation was stopped.');
    if (sourceText === undefined) {
      throw new KnnLMError(
        'INVALID_DOCUMENT',
        `${source} is a text alone: only pairs of a source and its target show how well it is translated.`,
      );
    }
    const lm = await translate(sourceText, 'lm');
    last = await translate(sourceText, 'knnlm');
    units.push([...pairCounts(lm.text, text), ...pairCounts(last.text, text)]);
    onProgress?.({ done: units.length, unit: 'documents', phase: 'translating' });
  }
  if (!last) throw new KnnLMError('NO_DOCUMENTS', 'There are no pairs to translate.');
  const sums = units.reduce((all, unit) => all.map((sum, i) => sum + unit[i]!));
  const of = (counts: readonly number[], by: 'lm' | 'knnlm'): TranslationScores =>
    scoresOf(by === 'lm' ? counts.slice(0, PAIR_COUNTS) : counts.slice(PAIR_COUNTS));
  const [lm, knnlm, difference] = bootstrapIntervals(units, [
    (counts) => of(counts, 'lm').bleu,
    (counts) => of(counts, 'knnlm').bleu,
    (counts) => of(counts, 'knnlm').bleu - of(counts, 'lm').bleu,
  ]);
  return {
    pairs: units.length,
    lm: of(sums, 'lm'),
    knnlm: of(sums, 'knnlm'),
    interval: { lm: lm!, knnlm: knnlm!, difference: difference! },
    beams: last.beams,
    settings: last.settings,
    seconds: (performance.now() - started) / 1000,
  };
}
