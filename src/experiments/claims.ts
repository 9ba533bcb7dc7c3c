/**
 * Statements of the paper as predicates over measured numbers. A statement is *shown* when the whole 95% interval says so,
 * *opposite* when the whole interval says the contrary, and *not shown* otherwise; then the numbers say why.
 */
import { type Comparison, compare, type Score, total } from './score.ts';
import type { Claim, Verdict } from './types.ts';

export interface LowerClaim {
  statement: string;
  /** Said to have the lower perplexity, */
  better: Score;
  /** than this. */
  worse: Score;
  /** What the comparison is called: `mixture over model alone`. */
  names: string;
  /** What else the numbers say when it is not shown. */
  because?: string;
}

/** That one perplexity is lower than another on the same text. */
export function lowerClaim({ statement, better, worse, names, because }: LowerClaim): Claim {
  const comparison = compare(better, worse);
  const verdict = verdictOf(comparison);
  const measured = `${names}: ${ratioText(comparison)}`;
  if (verdict === 'shown') return { statement, verdict, measured };
  const why = [
    verdict === 'opposite'
      ? `The interval lies above 1: at this scale it is ${percent(comparison.ratio - 1)} worse.`
      : undecided(comparison, total(worse.tokens)),
    because,
  ];
  return { statement, verdict, measured, why: why.filter(Boolean).join(' ') };
}

function verdictOf({ interval: [low, high] }: Comparison): Verdict {
  if (high < 1) return 'shown';
  return low > 1 ? 'opposite' : 'not shown';
}

/** How much text would settle it: the interval narrows with the square root of the text. */
function undecided({ ratio, interval: [low, high] }: Comparison, tokens: number): string {
  const effect = Math.abs(Math.log(ratio));
  const half = Math.log(high / low) / 2;
  const wide = `The difference of ${percent(effect)} is within the interval of ±${percent(half)} that ${count(tokens)} tokens leave`;
  const needed = tokens * (half / effect) ** 2;
  return needed < 1e9
    ? `${wide}; a difference of this size would show on about ${count(Number(needed.toPrecision(1)))} tokens.`
    : `${wide}: there is none to speak of.`;
}

/** That a series of scores falls: its end is below its start, and no step of it goes up for certain. */
export function fallingClaim(
  statement: string,
  series: readonly { name: string; score: Score }[],
): Claim {
  const first = series[0]!;
  const last = series.at(-1)!;
  const whole = lowerClaim({
    statement,
    better: last.score,
    worse: first.score,
    names: `${last.name} over ${first.name}`,
  });
  if (whole.verdict !== 'shown') return whole;
  const rises = series.slice(1).flatMap(({ name, score }, i) => {
    const step = compare(score, series[i]!.score);
    return step.interval[0] > 1 ? [`from ${series[i]!.name} to ${name} (${ratioText(step)})`] : [];
  });
  if (rises.length === 0) return whole;
  return {
    ...whole,
    verdict: 'not shown',
    why: `It falls on the whole, but rises ${rises.join(', ')}.`,
  };
}

/** A quantity with its 95% interval. */
export interface Estimate {
  name: string;
  value: number;
  interval: [number, number];
}

/** That one of two independent estimates is higher. */
export function higherClaim(statement: string, higher: Estimate, lower: Estimate): Claim {
  const text = ({ name, value, interval: [low, high] }: Estimate): string =>
    `${name} ${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  const measured = `${text(higher)}, ${text(lower)}`;
  if (higher.interval[0] > lower.interval[1]) return { statement, verdict: 'shown', measured };
  if (higher.interval[1] < lower.interval[0])
    return { statement, verdict: 'opposite', measured, why: 'The order is the other way round.' };
  return { statement, verdict: 'not shown', measured, why: 'The two intervals overlap.' };
}

export function ratioText({ ratio, interval: [low, high] }: Comparison): string {
  return `${ratio.toFixed(3)} (${low.toFixed(3)} to ${high.toFixed(3)})`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(share < 0.0095 ? 2 : 1)}%`;
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}
