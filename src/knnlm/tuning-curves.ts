/** Perplexity along k, λ and T, as `tune` tells it and, of that, as a datastore keeps it. */
import type { SettingsPoint, SettingsSearch, Surface } from './search-settings.ts';

export interface TuningCurves {
  /** The best of each k, */
  k: SettingsPoint[];
  /** of each T at the chosen k, */
  temperature: SettingsPoint[];
  /** and all λ and T at the chosen k. */
  surface: Surface;
}

/** Pairs of a setting and its perplexity, by the setting, ascending. */
export interface KeptCurves {
  /** Each with its best λ and T. */
  k: [number, number][];
  /** At the chosen k, and the T of the grid that is nearest to the chosen one. */
  lambda: [number, number][];
  /** At the chosen k, each with its best λ. */
  temperature: [number, number][];
}

export function curvesOf({ cells, best, surface }: SettingsSearch): TuningCurves {
  return {
    k: cells.map((row) => row.reduce((a, b) => (b.perplexity < a.perplexity ? b : a))),
    temperature: cells.find((row) => row[0]!.k === best.k)!,
    surface,
  };
}

/** @param chosen T */
export function keptCurves({ k, temperature, surface }: TuningCurves, chosen: number): KeptCurves {
  const { lambdas, temperatures, perplexity } = surface;
  const away = (t: number): number => Math.abs(Math.log(temperatures[t]! / chosen));
  let nearest = 0;
  for (let t = 1; t < temperatures.length; t++) if (away(t) < away(nearest)) nearest = t;
  return {
    k: k.map((point) => [point.k, digits(point.perplexity)]),
    lambda: lambdas.map((lambda, at) => [digits(lambda), digits(perplexity[nearest]![at]!)]),
    temperature: temperature.map((point) => [digits(point.temperature), digits(point.perplexity)]),
  };
}

/** As many as a plot shows; the manifest stays small. */
const digits = (value: number): number => Number(value.toPrecision(5));
