/**
 * Joint search over k, λ and T on cached neighbors; runs in a worker (`search-settings-worker.ts`).
 *
 * T runs down a geometric grid of ratio √2, so a weight at T/2 is the square of the one at T: two exponentials per
 * neighbor serve the whole grid. k runs over prefixes, and each (k, T) has its best λ by Newton's method.
 */
import { bootstrapIntervals } from '../math/bootstrap.ts';
import { bestLambda, logGain } from './best-lambda.ts';
import type { NeighborTable } from './cached-neighbors.ts';

/** The lowest and highest T tried, as octaves around the spread of the distances (see `distanceSpread`). */
const OCTAVES_BELOW = 9;
const OCTAVES_ABOVE = 3;
/** Smaller weights than this share of the nearest neighbor's do not change a float64 sum. */
const NEGLIGIBLE = 1e-17;
/** A smaller k is taken when it costs no more than this share of perplexity: searching less is worth it. */
const SMALLER_K_TOLERANCE = 1e-3;

/** A setting and what it gives. */
export interface SettingsPoint {
  k: number;
  temperature: number;
  lambda: number;
  perplexity: number;
}

export interface SettingsSearch {
  /** Perplexity of the model alone. */
  lm: number;
  /** See `distanceSpread`. */
  spread: number;
  best: SettingsPoint;
  /** (number of k, number of T) each with its best λ: k ascending, T ascending. */
  cells: SettingsPoint[][];
  /** 95% bootstrap interval of the best setting's perplexity, units resampled, */
  interval: [number, number];
  /** and of its ratio to that of the model alone. */
  ratio: [number, number];
  /** Perplexity when λ and T are tuned on half of the units and measured on the other half, both ways. */
  crossValidated: number;
  /** Perplexity over λ and T at the best k. */
  surface: Surface;
}

/** Perplexities over a grid of λ and T, for a plot. */
export interface Surface {
  lambdas: number[];
  temperatures: number[];
  /** (number of T) rows of (number of λ). */
  perplexity: number[][];
}

/** @param table at least one target */
export function searchSettings(table: NeighborTable): SettingsSearch {
  const ks = kGrid(table.k);
  const spread = distanceSpread(table);
  const temperatures = temperatureGrid(spread);
  const gains = gainsOfGrid(table, ks, temperatures);
  const lmNll = -sum(table.lm);
  const perplexity = (gained: number, targets = table.targets): number =>
    Math.exp((lmNll - gained) / targets);
  const cells = ks.map((k, a) =>
    temperatures.map((temperature, b) => {
      const cell = gains[a]![b]!;
      const lambda = bestLambda(cell);
      return { k, temperature, lambda, perplexity: perplexity(logGain(cell, lambda)) };
    }),
  );
  const chosen = chooseCell(cells);
  const row = ks.indexOf(chosen.k);
  const best = refine(table, chosen, cells[row]!);
  const [interval, ratio] = intervals(table, mixtureLogProbs(table, best));
  return {
    lm: perplexity(0),
    spread,
    best,
    cells,
    interval: interval!,
    ratio: ratio!,
    crossValidated: crossValidate(table, gains[row]!),
    surface: surfaceOf(gains[row]!, temperatures, perplexity),
  };
}

/** Powers of two, and the cache's own k. */
function kGrid(most: number): number[] {
  const ks: number[] = [];
  for (let k = 1; k < most; k *= 2) ks.push(k);
  return [...ks, most];
}

/** Ascending, ratio √2. */
function temperatureGrid(spread: number): number[] {
  const steps = 2 * (OCTAVES_BELOW + OCTAVES_ABOVE);
  const highest = spread * 2 ** OCTAVES_ABOVE;
  return Array.from({ length: steps + 1 }, (_, i) => highest * 2 ** ((i - steps) / 2));
}

/**
 * Median over targets of how much farther the last neighbor lies than the first: the scale that T has to fit, since
 * only differences of distances enter the softmax. 1 when all distances are equal.
 */
export function distanceSpread({ targets, k, distances }: NeighborTable): number {
  const spreads: number[] = [];
  for (let row = 0; row < targets; row++) {
    let last = k - 1;
    while (last > 0 && distances[row * k + last] === Number.POSITIVE_INFINITY) last--;
    const spread = distances[row * k + last]! - distances[row * k]!;
    if (spread > 0) spreads.push(spread);
  }
  spreads.sort((a, b) => a - b);
  return spreads[spreads.length >> 1] ?? 1;
}

/**
 * @param temperatures ascending, ratio √2
 * @returns per k and T: (q) p_kNN / p_LM - 1 of each target
 */
function gainsOfGrid(
  table: NeighborTable,
  ks: readonly number[],
  temperatures: readonly number[],
): Float32Array[][] {
  const gains = ks.map(() => temperatures.map(() => new Float32Array(table.targets)));
  const all = new Float64Array(temperatures.length);
  const voted = new Float64Array(temperatures.length);
  const top = temperatures.length - 1;
  for (let row = 0; row < table.targets; row++) {
    const first = row * table.k;
    const matchRow = row * Math.ceil(table.k / 8);
    const nearest = table.distances[first]!;
    // Nothing was found: the mixture is the model alone, a gain of 0.
    if (nearest === Number.POSITIVE_INFINITY) continue;
    const perLm = Math.exp(-table.lm[row]!);
    all.fill(0);
    voted.fill(0);
    for (let i = 0, next = 0; i < table.k; i++) {
      const away = table.distances[first + i]! - nearest;
      const match = (table.matches[matchRow + (i >> 3)]! >> (i & 7)) & 1;
      // Every second T from the top by squaring, then those between.
      for (let phase = 0; phase < 2; phase++) {
        let weight = Math.exp(-away / temperatures[top - phase]!);
        for (let t = top - phase; t >= 0 && weight > NEGLIGIBLE; t -= 2) {
          all[t]! += weight;
          if (match) voted[t]! += weight;
          weight *= weight;
        }
      }
      if (i + 1 !== ks[next]) continue;
      for (let t = 0; t <= top; t++) gains[next]![t]![row] = (voted[t]! / all[t]!) * perLm - 1;
      next++;
    }
  }
  return gains;
}

/** The best cell, or one of smaller k that is as good. */
function chooseCell(cells: readonly SettingsPoint[][]): SettingsPoint {
  const bestOfK = cells.map((row) => row.reduce((a, b) => (b.perplexity < a.perplexity ? b : a)));
  const least = Math.min(...bestOfK.map(({ perplexity }) => perplexity));
  return bestOfK.find(({ perplexity }) => perplexity <= least * (1 + SMALLER_K_TOLERANCE))!;
}

/** Moves T to the vertex of the parabola through the best three cells, when that is better. Rounds the settings. */
function refine(
  table: NeighborTable,
  chosen: SettingsPoint,
  row: readonly SettingsPoint[],
): SettingsPoint {
  const at = row.indexOf(chosen);
  const [before, after] = [row[at - 1], row[at + 1]];
  const candidates = [chosen.temperature];
  if (before && after && chosen.lambda > 0) {
    const a = Math.log(before.perplexity);
    const b = Math.log(chosen.perplexity);
    const c = Math.log(after.perplexity);
    const steps = (a - c) / (2 * (a - 2 * b + c));
    if (Math.abs(steps) <= 1) candidates.push(chosen.temperature * 2 ** (steps / 2));
  }
  const points = candidates.map((candidate) => {
    const temperature = Number(candidate.toPrecision(4));
    const gains = gainsAt(table, chosen.k, temperature);
    const lambda = Number(bestLambda(gains).toFixed(4));
    const perplexity = Math.exp((-sum(table.lm) - logGain(gains, lambda)) / table.targets);
    return { k: chosen.k, temperature, lambda, perplexity };
  });
  return points.reduce((x, y) => (y.perplexity < x.perplexity ? y : x));
}

/** (q) p_kNN / p_LM - 1 under one k and T. @param rows (q) those wanted; all, when left out */
export function gainsAt(
  table: NeighborTable,
  k: number,
  temperature: number,
  rows?: ArrayLike<number>,
): Float32Array {
  const gains = new Float32Array(rows?.length ?? table.targets);
  for (let at = 0; at < gains.length; at++) {
    const row = rows ? rows[at]! : at;
    const first = row * table.k;
    const matchRow = row * Math.ceil(table.k / 8);
    const nearest = table.distances[first]!;
    if (nearest === Number.POSITIVE_INFINITY) continue;
    let all = 0;
    let voted = 0;
    for (let i = 0; i < k; i++) {
      const weight = Math.exp((nearest - table.distances[first + i]!) / temperature);
      // Those that follow lie no nearer.
      if (weight < NEGLIGIBLE) break;
      all += weight;
      if ((table.matches[matchRow + (i >> 3)]! >> (i & 7)) & 1) voted += weight;
    }
    gains[at] = (voted / all) * Math.exp(-table.lm[row]!) - 1;
  }
  return gains;
}

function mixtureLogProbs(
  table: NeighborTable,
  { k, temperature, lambda }: SettingsPoint,
): Float32Array {
  const gains = gainsAt(table, k, temperature);
  return gains.map((gain, row) => table.lm[row]! + Math.log1p(lambda * gain));
}

/** Of the mixture's perplexity, and of its ratio to the model's. */
function intervals(table: NeighborTable, logProbs: Float32Array): [number, number][] {
  const units = new Map<number, number[]>();
  for (let row = 0; row < table.targets; row++) {
    const unit = units.get(table.units[row]!) ?? [0, 0, 0];
    unit[0]! -= table.lm[row]!;
    unit[1]! -= logProbs[row]!;
    unit[2]!++;
    units.set(table.units[row]!, unit);
  }
  return bootstrapIntervals(
    [...units.values()],
    [([, b, n]) => Math.exp(b! / n!), ([a, b, n]) => Math.exp((b! - a!) / n!)],
  );
}

/** Two folds of alternate units: what tuning on one half is worth on text it has not seen. */
function crossValidate({ targets, lm, units }: NeighborTable, cells: Float32Array[]): number {
  const folds = [0, 1].map((fold) => {
    const rows: number[] = [];
    for (let row = 0; row < targets; row++) if (units[row]! % 2 === fold) rows.push(row);
    return rows;
  });
  // One unit alone cannot be halved by units: halve its targets.
  if (folds.some((rows) => rows.length === 0)) {
    const middle = targets >> 1;
    folds[0] = Array.from({ length: middle }, (_, row) => row);
    folds[1] = Array.from({ length: targets - middle }, (_, row) => middle + row);
  }
  let nll = -sum(lm);
  for (const fold of [0, 1]) {
    let most = Number.NEGATIVE_INFINITY;
    let setting = { cell: 0, lambda: 0 };
    cells.forEach((gains, cell) => {
      const tuned = pick(gains, folds[fold]!);
      const lambda = bestLambda(tuned);
      const gained = logGain(tuned, lambda);
      if (gained > most) {
        most = gained;
        setting = { cell, lambda };
      }
    });
    nll -= logGain(pick(cells[setting.cell]!, folds[1 - fold]!), setting.lambda);
  }
  return Math.exp(nll / targets);
}

function pick(values: Float32Array, rows: readonly number[]): Float32Array {
  const picked = new Float32Array(rows.length);
  for (let i = 0; i < rows.length; i++) picked[i] = values[rows[i]!]!;
  return picked;
}

const SURFACE_LAMBDAS = Array.from({ length: 20 }, (_, i) => i / 20);

function surfaceOf(
  cells: readonly Float32Array[],
  temperatures: number[],
  perplexity: (gained: number) => number,
): Surface {
  return {
    lambdas: SURFACE_LAMBDAS,
    temperatures,
    perplexity: cells.map((gains) =>
      SURFACE_LAMBDAS.map((lambda) => perplexity(logGain(gains, lambda))),
    ),
  };
}

function sum(values: Float32Array): number {
  let total = 0;
  for (let i = 0; i < values.length; i++) total += values[i]!;
  return total;
}
