/** Sums of scored documents: perplexities, shares helped and hurt, bootstrap intervals. */
import { bootstrapIntervals } from '../math/bootstrap.ts';
import type { ScoredDocument } from './evaluate.ts';
import type { Evaluation, TextScore } from './types.ts';

/** Tokens per bootstrap unit when there are too few documents to resample. */
const BLOCK_TOKENS = 512;
const FEWEST_DOCUMENTS_TO_RESAMPLE = 20;

export type Summary = Omit<Evaluation, 'settings' | 'searched' | 'seconds' | 'retrievalSeconds'>;

/** Sums, perplexities, shares and intervals of scored documents. */
export function summarize(scored: readonly ScoredDocument[]): Summary {
  const totals = { tokens: 0, bytes: 0, words: 0, lm: 0, knnlm: 0, helped: 0, hurt: 0 };
  for (const document of scored) {
    const cut = document.targets.length;
    totals.tokens += cut;
    totals.bytes += document.bytes;
    totals.words += document.words;
    for (let i = 0; i < cut; i++) {
      totals.lm -= document.lm[i]!;
      totals.knnlm -= document.mixture[i]!;
      if (document.mixture[i]! > document.lm[i]!) totals.helped++;
      else if (document.mixture[i]! < document.lm[i]!) totals.hurt++;
    }
  }
  const { tokens, bytes, words } = totals;
  const [lm, knnlm, ratio] = bootstrapIntervals(bootstrapUnits(scored), [
    ([a, , n]) => Math.exp(a! / n!),
    ([, b, n]) => Math.exp(b! / n!),
    ([a, b, n]) => Math.exp((b! - a!) / n!),
  ]);
  return {
    documents: scored.length,
    tokens,
    bytes,
    words,
    lm: textScore(totals.lm, { tokens, bytes, words }),
    knnlm: textScore(totals.knnlm, { tokens, bytes, words }),
    interval: { lm: lm!, knnlm: knnlm!, ratio: ratio! },
    helped: totals.helped / tokens,
    hurt: totals.hurt / tokens,
  };
}

/** @param nll in nats, summed */
export function textScore(
  nll: number,
  { tokens, bytes, words }: { tokens: number; bytes: number; words: number },
): TextScore {
  return {
    nll,
    perplexity: Math.exp(nll / tokens),
    wordPerplexity: Math.exp(nll / Math.max(1, words)),
    bitsPerByte: nll / Math.LN2 / Math.max(1, bytes),
  };
}

/** [nll of the model, nll of the mixture, targets] per document, or per block when documents are few. */
function bootstrapUnits(scored: readonly ScoredDocument[]): number[][] {
  const whole = scored.length >= FEWEST_DOCUMENTS_TO_RESAMPLE;
  const units: number[][] = [];
  for (const { targets, lm, mixture } of scored) {
    const size = whole ? Math.max(1, targets.length) : BLOCK_TOKENS;
    for (let start = 0; start < targets.length; start += size) {
      const end = Math.min(targets.length, start + size);
      let lmNll = 0;
      let mixtureNll = 0;
      for (let i = start; i < end; i++) {
        lmNll -= lm[i]!;
        mixtureNll -= mixture[i]!;
      }
      units.push([lmNll, mixtureNll, end - start]);
    }
  }
  return units;
}

/** Runs of non-space characters, what `wc -w` counts. */
export function countWords(text: string): number {
  let words = 0;
  for (const _ of text.matchAll(/\S+/g)) words++;
  return words;
}
