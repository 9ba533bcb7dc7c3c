/** Perplexities of one text under several distributions, and paired comparisons of them. */
import type { NeighborTable } from '../knnlm/cached-neighbors.ts';
import { bootstrapIntervals } from '../math/bootstrap.ts';

/** Sums per window of text: two scores of the same text have the same windows, so that they can be compared in pairs. */
export interface Score {
  /** (u) negative log-likelihood in nats */
  nll: number[];
  /** (u) targets */
  tokens: number[];
  perplexity: number;
}

/** Of the mixture with one λ. @param gains (q) p_kNN / p_LM - 1 */
export function scoreOf(table: NeighborTable, gains: Float32Array, lambda: number): Score {
  return scoreTargets(table.units, (row) => table.lm[row]! + Math.log1p(lambda * gains[row]!));
}

/** @param units (q) window of each target @param logProb of the target in a row, in nats */
export function scoreTargets(units: Int32Array, logProb: (row: number) => number): Score {
  const sums = new Map<number, [nll: number, tokens: number]>();
  for (let row = 0; row < units.length; row++) {
    const sum = sums.get(units[row]!) ?? [0, 0];
    sum[0] -= logProb(row);
    sum[1]++;
    sums.set(units[row]!, sum);
  }
  const nll = [...sums.values()].map(([x]) => x);
  const tokens = [...sums.values()].map(([, n]) => n);
  return { nll, tokens, perplexity: Math.exp(total(nll) / total(tokens)) };
}

export interface Comparison {
  /** Perplexity of the first over that of the second. */
  ratio: number;
  /** 95% bootstrap interval, windows resampled in pairs. */
  interval: [number, number];
}

export function compare(a: Score, b: Score): Comparison {
  const units = a.nll.map((nll, i) => [nll - b.nll[i]!, a.tokens[i]!]);
  const [interval] = bootstrapIntervals(units, [([d, n]) => Math.exp(d! / n!)]);
  return { ratio: a.perplexity / b.perplexity, interval: interval! };
}

export function perplexityInterval({ nll, tokens }: Score): [number, number] {
  const units = nll.map((x, i) => [x, tokens[i]!]);
  return bootstrapIntervals(units, [([x, n]) => Math.exp(x! / n!)])[0]!;
}

export function total(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
