/** What `tune` prints: the settings, what they gain, and perplexity over λ and T as a picture of characters. */

import type { Tuning } from '../../knnlm/tune.ts';
import { columnOf } from '../../knnlm/tuning-chart.ts';
import {
  change,
  count,
  counted,
  duration,
  measure,
  partsText,
  percent,
  settingsText,
} from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { pad } from '../text.ts';
import { facts } from './facts.ts';

/** Signs by how far a cell's perplexity is above the best; what is worse than the model alone is a dot. */
const SIGNS = [
  { upTo: 1.01, sign: '█' },
  { upTo: 1.05, sign: '▓' },
  { upTo: 1.2, sign: '▒' },
  { upTo: Number.POSITIVE_INFINITY, sign: '░' },
] as const;
const WORSE = '·';
const CHOSEN = '◆';
/** Characters per temperature. */
const CELL = 2;

export function tuningText(tuning: Tuning, colors: Colors): string {
  const { perplexity, settings, parts, gate, overlap } = tuning;
  const gains = (value: number) => `${measure(value)}  (${change(value / perplexity.lm)})`;
  const [low, high] = perplexity.interval;
  const rows = facts(
    [
      [
        'settings',
        `${settingsText({ ...settings, ...parts, gate: gate?.used })}${tuning.saved ? '' : '  (not stored)'}`,
      ],
      ['model alone', `perplexity ${measure(perplexity.lm)}`],
      [
        'tuned',
        `perplexity ${gains(perplexity.knnlm)}; 95% interval ${measure(low)} to ${measure(high)}`,
      ],
      ['', `${gains(perplexity.crossValidated)} when tuned on one half and measured on the other`],
      [
        'gate',
        gate
          ? `${gains(gate.crossValidated)} likewise${gate.used ? '' : ': no better, not used'}`
          : '',
      ],
      ...gateRows(tuning),
      ['searches', searchesText(tuning)],
      [
        'text',
        `${counted(tuning.documents, 'document')}, ${count(tuning.tokens)} tokens` +
          (tuning.tokens < tuning.tokensOfText ? ` of ${count(tuning.tokensOfText)}` : '') +
          `; ${percent(overlap.ngramShare)} of its 13-grams are in the store`,
      ],
      ...speedRows(tuning),
      ['k', tuning.curves.k.map(({ k, perplexity }) => `${k}: ${measure(perplexity)}`).join('  ')],
      [
        'time',
        `${duration(tuning.seconds)}, ${duration(tuning.retrievalSeconds)} of it searching, ${duration(tuning.tuningSeconds)} tuning`,
      ],
    ],
    colors,
  );
  return `${rows}\n\n${surfaceText(tuning, colors)}`;
}

/** What was considered beside the neighbors. */
function gateRows({ gate, perplexity }: Tuning): [string, string][] {
  const tried = gate?.tried ?? [];
  if (tried.length < 2) return [];
  const name = ({ cache, pointers }: (typeof tried)[number]): string =>
    ['neighbors', ...(cache ? ['cache'] : []), ...(pointers ? ['pointers'] : [])].join(' + ');
  return tried.map((one) => [
    '',
    `${measure(one.crossValidated)}  (${change(one.crossValidated / perplexity.lm)}) ${name(one)}`,
  ]);
}

/** What quicker settings cost, and how long their searches take. */
function speedRows({ speed }: Tuning): [string, string][] {
  if (!speed) return [];
  const [first] = speed.tried;
  return speed.tried.map((step, at) => {
    const cost = at === 0 ? '' : ` (${change(step.perplexity / first!.perplexity)})`;
    const budget = [`k ${step.k}`, ...partsText(step.effort === 1 ? {} : step)].join(', ');
    return [
      at === 0 ? 'speed' : '',
      `${budget}: perplexity ${measure(step.perplexity)}${cost}, ${step.searchMs.toFixed(2)} ms a search` +
        (at === speed.taken ? ', taken' : ''),
    ];
  });
}

/** Nothing where it was not learned which to skip. */
function searchesText({ skip }: Tuning): string {
  if (!skip) return '';
  const points = skip.points.map(
    ({ skipped, perplexity }) =>
      `${Math.round(100 * skipped)}%: ${change(perplexity / skip.always)}`,
  );
  return `perplexity by the share that is skipped  ${points.join('  ')}`;
}

/** λ upwards, T to the right. */
export function surfaceText(
  { settings, perplexity, curves }: Pick<Tuning, 'settings' | 'perplexity' | 'curves'>,
  colors: Colors,
): string {
  const { lambdas, temperatures, perplexity: cells } = curves.surface;
  const best = Math.min(perplexity.knnlm, ...cells.flat());
  const column = Math.round(columnOf(settings.temperature, temperatures));
  const row = Math.round(settings.lambda / (lambdas[1]! - lambdas[0]!));
  const lines = lambdas.map((lambda, at) => {
    const signs = temperatures.map((_, t) => {
      if (t === column && at === row) return colors.bold(pad(CHOSEN, CELL));
      const value = cells[t]![at]!;
      if (value > perplexity.lm) return colors.red(WORSE.repeat(CELL));
      return SIGNS.find(({ upTo }) => value <= best * upTo)!.sign.repeat(CELL);
    });
    return `  ${pad(at % 4 === 0 ? `λ ${lambda.toFixed(1)}` : '', 6)} ${signs.join('')}`;
  });
  const marks = temperatures
    .filter((_, t) => t % 6 === 0)
    .map((temperature) => pad(String(Number(temperature.toPrecision(2))), 6 * CELL))
    .join('');
  const key =
    `${CHOSEN} chosen   █ within 1% of the best   ▓ 5%   ▒ 20%   ░ better than the model alone   ` +
    `${WORSE} worse`;
  return [...lines.reverse(), `  ${pad('T', 6)} ${marks.trimEnd()}`, colors.dim(`  ${key}`)].join(
    '\n',
  );
}
