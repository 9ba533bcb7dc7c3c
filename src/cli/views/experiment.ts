/** What `experiment` prints: every statement with its verdict, and where the page is. */
import type { ExperimentReport } from '../../experiments/run-experiments.ts';
import type { Claim, ExperimentResult, SkippedExperiment } from '../../experiments/types.ts';
import { duration } from '../numbers.ts';
import type { Colors } from '../screen.ts';
import { oneLine, pad } from '../text.ts';

const MARKS = { shown: '✓', 'not shown': '–', opposite: '✗' } as const;

export function experimentText(report: ExperimentReport, page: string, colors: Colors): string {
  const parts = report.experiments.map((x) =>
    'skipped' in x ? skippedText(x, colors) : resultText(x, colors),
  );
  return `${parts.join('\n\n')}\n\n${colors.bold('report')}  ${page}`;
}

function resultText(result: ExperimentResult, colors: Colors): string {
  const heading = `${colors.bold(result.title)}  ${colors.dim(`${result.paper.where} · ${duration(result.seconds)}`)}`;
  return [heading, ...result.claims.map((claim) => claimText(claim, colors))].join('\n');
}

function claimText({ statement, verdict, measured, why }: Claim, colors: Colors): string {
  const paint = { shown: colors.green, 'not shown': colors.yellow, opposite: colors.red }[verdict];
  const lines = [
    `  ${paint(`${MARKS[verdict]} ${pad(verdict, 9)}`)}  ${statement}`,
    `${' '.repeat(15)}${colors.dim(oneLine(measured))}`,
  ];
  if (why) lines.push(`${' '.repeat(15)}${colors.dim(oneLine(why))}`);
  return lines.join('\n');
}

function skippedText({ title, skipped }: SkippedExperiment, colors: Colors): string {
  return `${colors.bold(title)}  ${colors.dim('not run')}\n${' '.repeat(15)}${colors.dim(skipped)}`;
}
