/**
 * k, λ and T chosen on one half of a text, and what they give on the other: the unit of every experiment. Runs in a
 * worker (`fit-worker.ts`) on neighbors that were retrieved once.
 */
import { bestLambda } from '../knnlm/best-lambda.ts';
import type { NeighborTable } from '../knnlm/cached-neighbors.ts';
import { gainsAt, type SettingsPoint, searchSettings } from '../knnlm/search-settings.ts';
import { Random } from '../math/random.ts';
import { type Score, scoreOf } from './score.ts';

/** λ = 0, 0.05 … 0.95. */
const LAMBDAS = Array.from({ length: 20 }, (_, i) => i / 20);
const LAMBDA_RESAMPLES = 200;

/** Neighbors of the half tuned on and of the half reported on. */
export interface Halves<T> {
  tuning: T;
  reporting: T;
}

export interface FittedSettings {
  k: number;
  lambda: number;
  temperature: number;
}

export interface Fit {
  settings: FittedSettings;
  /** The model alone, on the half reported on. */
  lm: Score;
  /** The mixture, likewise. */
  mixture: Score;
  /** Every k with λ and T of its own, ascending. */
  byK: { settings: FittedSettings; score: Score }[];
  /** At the chosen k and T: perplexity on the half reported on. */
  byLambda: { lambda: number; perplexity: number }[];
  /** 95% bootstrap interval of the best λ at that k and T, windows of the tuning half resampled. */
  lambdaInterval: [number, number];
  /** p_kNN / p_LM - 1 of each target at the chosen k and T; with `logLm` what another mixture needs. */
  gains: Halves<Float32Array>;
  /** log p_LM of each target. */
  logLm: Halves<Float32Array>;
  /** Share of the targets reported on for which at least one neighbor votes. */
  covered: number;
}

export function fitTables({ tuning, reporting }: Halves<NeighborTable>): Fit {
  const found = searchSettings(tuning);
  const settings = settingsOf(found.best);
  const gains = (table: NeighborTable): Float32Array =>
    gainsAt(table, Math.min(settings.k, table.k), settings.temperature);
  const own = { tuning: gains(tuning), reporting: gains(reporting) };
  const score = (part: Float32Array, lambda: number): Score => scoreOf(reporting, part, lambda);
  return {
    settings,
    lm: score(own.reporting, 0),
    mixture: score(own.reporting, settings.lambda),
    byK: found.cells.map((row) => {
      const best = settingsOf(row.reduce((a, b) => (b.perplexity < a.perplexity ? b : a)));
      const part = gainsAt(reporting, Math.min(best.k, reporting.k), best.temperature);
      return { settings: best, score: score(part, best.lambda) };
    }),
    byLambda: LAMBDAS.map((lambda) => ({
      lambda,
      perplexity: score(own.reporting, lambda).perplexity,
    })),
    lambdaInterval: lambdaInterval(tuning, own.tuning),
    gains: own,
    logLm: { tuning: tuning.lm.slice(), reporting: reporting.lm.slice() },
    covered: own.reporting.filter((gain) => gain > -1).length / reporting.targets,
  };
}

function settingsOf({ k, lambda, temperature }: SettingsPoint): FittedSettings {
  return { k, lambda, temperature };
}

function lambdaInterval(table: NeighborTable, gains: Float32Array): [number, number] {
  const rows = new Map<number, number[]>();
  for (let row = 0; row < table.targets; row++) {
    const unit = table.units[row]!;
    if (!rows.has(unit)) rows.set(unit, []);
    rows.get(unit)!.push(gains[row]!);
  }
  const units = [...rows.values()];
  const random = new Random(1);
  const draws = Array.from({ length: LAMBDA_RESAMPLES }, () =>
    bestLambda(Float32Array.from(units.flatMap(() => units[random.below(units.length)]!))),
  ).sort((a, b) => a - b);
  const low = Math.floor(0.025 * (draws.length - 1));
  return [draws[low]!, draws[draws.length - 1 - low]!];
}
