import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { PAIR_COUNTS, pairCounts, scoresOf } from '../../dist/knnlm/translation-metrics.js';
import { fixture } from '../model-onnx/support.ts';

const cases = JSON.parse(readFileSync(fixture('translation/scores.json'), 'utf8')) as {
  translations: string[];
  references: string[];
  bleu: number;
  chrf: number;
}[];

const scored = (translations: readonly string[], references: readonly string[]) => {
  const sums = new Array(PAIR_COUNTS).fill(0);
  for (const [i, text] of translations.entries()) {
    for (const [j, count] of pairCounts(text, references[i]!).entries()) sums[j] += count;
  }
  return scoresOf(sums);
};

describe('BLEU and chrF', () => {
  it.each(cases.map((one, i) => [i, one] as const))(
    'are those of sacreBLEU: corpus %i',
    (_i, { translations, references, bleu, chrf }) => {
      const scores = scored(translations, references);
      expect(scores.bleu).toBeCloseTo(bleu, 8);
      expect(scores.chrf).toBeCloseTo(chrf, 8);
    },
  );

  it('count what is the same to the letter, and are 0 of nothing', () => {
    expect(scored([], [])).toEqual({ bleu: 0, chrf: 0, exact: 0 });
    expect(scored(['a b', 'a b'], ['a b', 'a  b']).exact).toBe(0.5);
  });
});
