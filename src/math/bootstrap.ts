/** Percentile bootstrap of ratios of sums (Efron & Tibshirani 1993, ch. 13), for perplexities with an interval. */
import { Random } from './random.ts';

export interface BootstrapOptions {
  /** Resamples. Default 1,000. */
  samples?: number;
  /** Mass inside the interval. Default 0.95. */
  level?: number;
  seed?: number;
}

/**
 * Resamples whole units (documents or blocks of tokens) with replacement and recomputes statistics of their column sums.
 * @param units rows of equal length: each unit's sums, such as [nllLm, nllKnn, tokens]
 * @param statistics functions of the summed row
 * @returns one [low, high] per statistic
 */
export function bootstrapIntervals(
  units: readonly (readonly number[])[],
  statistics: readonly ((sums: readonly number[]) => number)[],
  { samples = 1000, level = 0.95, seed = 1 }: BootstrapOptions = {},
): [number, number][] {
  const random = new Random(seed);
  const width = units[0]?.length ?? 0;
  const draws = statistics.map(() => new Float64Array(samples));
  for (let s = 0; s < samples; s++) {
    const sums = new Array<number>(width).fill(0);
    for (let i = 0; i < units.length; i++) {
      const unit = units[random.below(units.length)]!;
      for (let c = 0; c < width; c++) sums[c]! += unit[c]!;
    }
    statistics.forEach((statistic, i) => {
      draws[i]![s] = statistic(sums);
    });
  }
  const low = Math.floor(((1 - level) / 2) * (samples - 1));
  return draws.map((values) => {
    values.sort();
    return [values[low]!, values[samples - 1 - low]!];
  });
}
