/** What `eval` prints: the model alone beside the mixture. */
import type { Breakdown } from '../../knnlm/breakdown.ts';
import type { TranslationEvaluation } from '../../knnlm/evaluate-translations.ts';
import type { TranslationScores } from '../../knnlm/translation-metrics.ts';
import type { Evaluation, TextScore } from '../../knnlm/types.ts';
import {
  bytes,
  change,
  count,
  counted,
  duration,
  measure,
  percent,
  settingsText,
} from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad, truncate } from '../text.ts';
import { facts } from './facts.ts';

const HEADINGS = ['perplexity', 'per word', 'bits per byte'];

export function evaluationText(
  evaluation: Evaluation & { translation?: TranslationEvaluation },
  colors: Colors,
): string {
  const { lm, knnlm, interval, settings, translation } = evaluation;
  const [low, high] = interval.ratio;
  const rest = facts(
    [
      ['perplexity', `${change(low)} to ${change(high)} with the memory (95% interval)`],
      [
        'tokens',
        `${percent(evaluation.helped)} more probable with the memory, ${percent(evaluation.hurt)} less`,
      ],
      [
        'text',
        `${counted(evaluation.documents, 'document')}, ${count(evaluation.tokens)} tokens, ${count(evaluation.words)} words, ${bytes(evaluation.bytes)}`,
      ],
      ['settings', settingsText(settings)],
      ['searched', evaluation.searched < 1 ? `${percent(evaluation.searched)} of the tokens` : ''],
      [
        'time',
        `${duration(evaluation.seconds)}, ${duration(evaluation.retrievalSeconds)} of it searching; ${count(evaluation.tokens / evaluation.seconds)} tokens/s`,
      ],
    ],
    colors,
  );
  const translated = translation ? [translationTable(translation, colors)] : [];
  const { breakdown } = evaluation;
  return [
    scoreTable(lm, knnlm, colors),
    ...translated,
    ...(breakdown ? [breakdownTables(breakdown, colors)] : []),
    rest,
  ].join('\n\n');
}

/** Where memory helps and where it hurts. */
function breakdownTables(breakdown: Breakdown, colors: Colors): string {
  const titles: [keyof Breakdown, string][] = [
    ['frequency', 'in the store'],
    ['distance', 'nearest'],
    ['position', 'position'],
    ['type', 'document'],
  ];
  const row = (cells: readonly string[]) =>
    `  ${pad(cells[0]!, 18)}${cells
      .slice(1)
      .map((cell) => pad(cell, 12, 'left'))
      .join('')}`;
  return titles
    .map(([of, title]) =>
      [
        colors.dim(row([title, 'tokens', 'alone', 'memory', 'change', 'helped', 'hurt'])),
        ...breakdown[of].map((group) => {
          const { tokens, lm, knnlm, helped, hurt } = group;
          const paint = knnlm <= lm ? colors.green : colors.red;
          return row([
            truncate(oneLine(group.group), 17),
            count(tokens),
            measure(lm),
            measure(knnlm),
            paint(pad(change(knnlm / lm), 12, 'left')),
            percent(helped),
            percent(hurt),
          ]);
        }),
      ].join('\n'),
    )
    .join('\n\n');
}

/** Like the table of perplexities, of translations. */
function translationTable(evaluation: TranslationEvaluation, colors: Colors): string {
  const { lm, knnlm, interval, beams, pairs } = evaluation;
  const row = (name: string, cells: string[], paint: (text: string) => string) =>
    `  ${pad(name, 15)}${cells.map((cell) => paint(pad(cell, 15, 'left'))).join('')}`;
  const values = ({ bleu, chrf, exact }: TranslationScores) => [
    bleu.toFixed(2),
    chrf.toFixed(2),
    percent(exact),
  ];
  const [low, high] = interval.difference.map(
    (points) => `${points < 0 ? '−' : '+'}${Math.abs(points).toFixed(2)}`,
  );
  return [
    colors.dim(row('', ['BLEU', 'chrF', 'exact'], (text) => text)),
    row('model alone', values(lm), (text) => text),
    row('with the memory', values(knnlm), colors.bold),
    colors.dim(
      `  BLEU ${low} to ${high} with the memory (95% interval; ${counted(pairs, 'pair')}, ${counted(beams, 'beam')})`,
    ),
  ].join('\n');
}

/** Three rows: the model alone, with the memory, the change. */
export function scoreTable(lm: TextScore, knnlm: TextScore, colors: Colors): string {
  const values = (score: TextScore) => [
    measure(score.perplexity),
    measure(score.wordPerplexity),
    score.bitsPerByte.toFixed(4),
  ];
  const ratios = [
    knnlm.perplexity / lm.perplexity,
    knnlm.wordPerplexity / lm.wordPerplexity,
    knnlm.bitsPerByte / lm.bitsPerByte,
  ];
  const row = (name: string, cells: string[], paint: (text: string) => string) =>
    `  ${pad(name, 15)}${cells.map((cell) => paint(pad(cell, 15, 'left'))).join('')}`;
  const better = knnlm.nll <= lm.nll ? colors.green : colors.red;
  return [
    colors.dim(row('', HEADINGS, (text) => text)),
    row('model alone', values(lm), (text) => text),
    row('with the memory', values(knnlm), colors.bold),
    row('', ratios.map(change), better),
  ].join('\n');
}
