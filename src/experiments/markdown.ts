/** The findings as Markdown, for a repository or a notebook: a table of claims, then each experiment's rows and picture. */
import type { ExperimentReport } from './run-experiments.ts';
import type { ExperimentResult, ResultRow, SkippedExperiment } from './types.ts';

export function reportMarkdown(report: ExperimentReport): string {
  const done = report.experiments.filter((x): x is ExperimentResult => !('skipped' in x));
  const skipped = report.experiments.filter((x): x is SkippedExperiment => 'skipped' in x);
  const seconds = done.reduce((sum, result) => sum + result.seconds, 0);
  return [
    '# The paper’s findings, here',
    `The experiments of Khandelwal et al. (ICLR 2020) with \`${report.model}\`, at most ${report.maxTokens.toLocaleString('en-US')} held-out tokens to choose ` +
      'k, λ and T on and as many to report on. A statement is *shown* when the whole 95% interval agrees with it, the *opposite* when the ' +
      'whole interval disagrees. Ratios are of perplexities, lower is better; two distributions are compared in pairs over windows of the same text.',
    `    ${report.command}`,
    `${report.machine}; ${Math.round(seconds / 60)} minutes of experiments.`,
    table(
      ['the paper says', 'where', 'here', 'measured'],
      done.flatMap(({ paper, claims }) =>
        claims.map(({ statement, verdict, measured }) => [
          statement,
          paper.where,
          verdict === 'shown' ? `**${verdict}**` : verdict,
          measured,
        ]),
      ),
    ),
    ...done.flatMap(sectionOf),
    ...skipped.flatMap(({ title, skipped: why }) => [`## ${title}`, `Not run. ${why}`]),
  ]
    .join('\n\n')
    .concat('\n');
}

function sectionOf({
  title,
  question,
  setup,
  paper,
  rows,
  claims,
  charts,
}: ExperimentResult): string[] {
  return [
    `## ${title}`,
    question,
    ...charts.map(({ name, title: caption }) => `![${caption}](charts/${name}.svg)`),
    table(['', 'perplexity', '95% interval', 'settings'], rows.map(rowOf)),
    `In the paper (${paper.where}; ${paper.setting}): ${paper.rows.map(([name, value]) => `${name} ${value}`).join(', ')}.`,
    ...claims.flatMap(({ statement, verdict, why }) =>
      why ? [`*${verdict}*: ${statement} ${why}`] : [],
    ),
    setup,
  ];
}

function rowOf({ name, perplexity, interval: [low, high], ...row }: ResultRow): string[] {
  const { k, lambda, temperature } = row;
  const settings =
    k === undefined
      ? ''
      : `k ${k}, λ ${lambda!.toFixed(2)}, T ${Number(temperature!.toPrecision(3))}`;
  return [name, perplexity.toFixed(2), `${low.toFixed(2)} to ${high.toFixed(2)}`, settings];
}

function table(headings: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  return [line(headings), line(headings.map(() => '---')), ...rows.map(line)].join('\n');
}
