/**
 * BLEU (Papineni et al. 2002) and chrF (Popović 2015) of translations against one reference each, to the digit those of sacreBLEU 2
 * (Post 2018) with its defaults:
 *
 *     BLEU  nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp
 *     chrF  nrefs:1|case:mixed|eff:yes|nc:6|nw:0|space:no
 *
 * Counts of n-grams are summed over all pairs before anything is divided, so a score is that of a corpus, not a mean of sentences.
 */

export interface TranslationScores {
  /** 0 to 100. */
  bleu: number;
  chrf: number;
  /** Share of translations that are their reference, character for character. */
  exact: number;
}

const BLEU_ORDER = 4;
const CHRF_ORDER = 6;
/** Recall counts so many times as much as precision. */
const CHRF_BETA = 2;

/** White space to Python's `str.split()`, which the scores' definitions rest on; JavaScript's \s has other members. */
const SPACE =
  '[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+';
const WHITE = new RegExp(SPACE, 'u');
const WHITE_END = new RegExp(`${SPACE}$`, 'u');

/** Numbers of a `pairCounts`. */
export const PAIR_COUNTS = 2 + 3 * (BLEU_ORDER + CHRF_ORDER);

/**
 * What one translation adds to a corpus: (`PAIR_COUNTS`) numbers that are added up.
 * They are 1, whether it is its reference, and by length the n-grams in common, of the translation and of the reference.
 */
export function pairCounts(translation: string, reference: string): number[] {
  return [
    1,
    translation === reference ? 1 : 0,
    ...countsOf(tokenize13a(translation), tokenize13a(reference), BLEU_ORDER),
    ...withoutHopeless(
      countsOf(charactersOf(translation), charactersOf(reference), CHRF_ORDER),
      CHRF_ORDER,
    ),
  ];
}

/** Of a corpus by the sums of its pairs' counts; zeros when there are none. */
export function scoresOf(sums: ArrayLike<number>): TranslationScores {
  const [pairs = 0, exact = 0, ...counts] = Array.from(sums);
  return {
    bleu: bleuOf(orders(counts.slice(0, 3 * BLEU_ORDER), BLEU_ORDER)),
    chrf: chrfOf(orders(counts.slice(3 * BLEU_ORDER), CHRF_ORDER)),
    exact: exact / Math.max(1, pairs),
  };
}

/** N-grams by length from 1 on. */
interface Counts {
  common: number[];
  translation: number[];
  reference: number[];
}

const orders = (counts: readonly number[], order: number): Counts => ({
  common: counts.slice(0, order),
  translation: counts.slice(order, 2 * order),
  reference: counts.slice(2 * order),
});

/** (3 · order) n-grams in common, of the translation, of the reference. */
function countsOf(
  translation: readonly string[],
  reference: readonly string[],
  order: number,
): number[] {
  const lengths = Array.from({ length: order }, (_, i) => i + 1);
  const common = lengths.map((n) => {
    const known = ngrams(reference, n);
    let count = 0;
    for (const [gram, times] of ngrams(translation, n)) {
      count += Math.min(times, known.get(gram) ?? 0);
    }
    return count;
  });
  const all = (parts: readonly string[]) => lengths.map((n) => Math.max(0, parts.length - n + 1));
  return [...common, ...all(translation), ...all(reference)];
}

/** chrF leaves out n-grams of a translation that are longer than its reference. */
const withoutHopeless = (counts: number[], order: number): number[] =>
  counts.map((count, i) => (i >= order && i < 2 * order && counts[i + order] === 0 ? 0 : count));

/** How often each occurs. Parts are joined by a space, which no part holds. */
function ngrams(parts: readonly string[], n: number): Map<string, number> {
  const counts = new Map<string, number>();
  for (let i = 0; i + n <= parts.length; i++) {
    const gram = parts.slice(i, i + n).join(' ');
    counts.set(gram, (counts.get(gram) ?? 0) + 1);
  }
  return counts;
}

function bleuOf({ translation, reference, common }: Counts): number {
  if (common.every((count) => count === 0)) return 0;
  const [length, wanted] = [translation[0]!, reference[0]!];
  let smoothing = 1;
  let sum = 0;
  for (const [i, total] of translation.entries()) {
    // Shorter than the order: undefined, and 0 by convention.
    if (total === 0) return 0;
    if (common[i] === 0) smoothing *= 2;
    sum += Math.log(common[i] === 0 ? 100 / (smoothing * total) : (100 * common[i]!) / total);
  }
  const brevity = length < wanted ? Math.exp(1 - wanted / length) : 1;
  return brevity * Math.exp(sum / BLEU_ORDER);
}

function chrfOf({ translation, reference, common }: Counts): number {
  let precision = 0;
  let recall = 0;
  let orders = 0;
  for (const [i, count] of common.entries()) {
    if (translation[i] === 0 || reference[i] === 0) continue;
    precision += count / translation[i]!;
    recall += count / reference[i]!;
    orders++;
  }
  if (precision + recall === 0) return 0;
  const weight = CHRF_BETA ** 2;
  const [p, r] = [precision / orders, recall / orders];
  return (100 * (1 + weight) * p * r) / (weight * p + r);
}

const wordsOf = (text: string): string[] => text.split(WHITE).filter((word) => word !== '');

const charactersOf = (text: string): string[] => [...wordsOf(text).join('')];

/** mteval-v13a, the tokenization of WMT. */
function tokenize13a(text: string): string[] {
  const line = text
    .replace(WHITE_END, '')
    .replaceAll('<skipped>', '')
    .replaceAll('-\n', '')
    .replaceAll('\n', ' ')
    .replaceAll('&quot;', '"')
    .replaceAll('&amp;', '&')
    .replaceAll('&lt;', '<')
    .replaceAll('&gt;', '>');
  const spaced = ` ${line} `
    .replace(/([{-~[-` -&(-+:-@/])/gu, ' $1 ')
    .replace(/([^0-9])([.,])/gu, '$1 $2 ')
    .replace(/([.,])([^0-9])/gu, ' $1 $2')
    .replace(/([0-9])(-)/gu, '$1 $2 ');
  return wordsOf(spaced);
}
