/**
 * Fits a gate to rows: maximum likelihood of the mixture by Adam (Kingma & Ba 2015) on small batches, features
 * standardized, a little weight decay.
 */
import { expertCount, featureCount, type GateShape } from '../datastore/gate-sizes.ts';
import type { GateParameters } from '../datastore/types.ts';
import { Random } from '../math/random.ts';
import { FEATURE_LIMIT, gateShares, standardize } from './gate-reader.ts';
import type { GateRows } from './gate-rows.ts';

/** Rows of a step: an eighth of all, within these bounds; more steps fit two thousand rows better, and others worse. */
const BATCH = { least: 128, most: 512 };
const STEPS = 200;
const RATE = 0.05;
/** Weight decay is worth so many rows: two thousand need 2e-3 of it, eight thousand lose by more than 1e-3. */
const DECAY_ROWS = 4;

/** A source beside the neighbors is taken as silent for so many rows, that the gate may be used without it too. */
const SILENCED = 0.1;

/** @param chosen rows to fit on, one at least */
export function fitGate(rows: GateRows, chosen: readonly number[]): GateParameters {
  const { shape } = rows;
  const width = featureCount(shape);
  const experts = expertCount(shape);
  const scale = momentsOf(rows, chosen, width);
  const features = standardizedRows(rows, chosen, scale);
  const size = width + 1;
  const weights = Array.from({ length: experts }, () => new Float64Array(size));
  const gradient = Array.from({ length: experts }, () => new Float64Array(size));
  const adam = new Adam(experts * size, DECAY_ROWS / Math.max(1, chosen.length));
  const shares = new Float64Array(experts);
  const own = new Float64Array(width);
  const open = new Uint8Array(experts);
  const silencer = new Silencer(shape, scale);
  const order = Int32Array.from(chosen, (_, at) => at);
  const random = new Random(1);
  const batch = Math.min(
    order.length,
    Math.max(BATCH.least, Math.min(BATCH.most, order.length >> 3)),
  );
  for (let step = 0, next = order.length; step < STEPS; step++) {
    if (next + batch > order.length) {
      shuffle(order, random);
      next = 0;
    }
    for (const row of gradient) row.fill(0);
    for (let i = 0; i < batch; i++) {
      const at = order[next++]!;
      const from = chosen[at]! * experts;
      own.set(features.subarray(at * width, (at + 1) * width));
      open.set(rows.open.subarray(from, from + experts));
      silencer.apply(own, open, random);
      gateShares(own, open, weights, shares);
      let ratio = 0;
      for (let e = 0; e < experts; e++) ratio += shares[e]! * rows.ratios[from + e]!;
      for (let e = 0; e < experts; e++) {
        if (!open[e]) continue;
        // d log(Σ g r) / d logit_e = g_e (r_e / Σ g r - 1): responsibility minus share.
        const slope = shares[e]! * (rows.ratios[from + e]! / ratio - 1);
        const out = gradient[e]!;
        for (let f = 0; f < width; f++) out[f]! += slope * own[f]!;
        out[width]! += slope;
      }
    }
    adam.step(weights, gradient, { count: batch, rate: RATE * (1 - step / STEPS) });
  }
  const { temperatures, ranks, usesModel, runs, cache } = shape;
  return {
    temperatures: [...temperatures],
    ranks: [...ranks],
    ...(usesModel && { usesModel }),
    ...(runs && { runs: [...runs] }),
    ...(cache && { cache: { temperatures: [...cache.temperatures], ranks: [...cache.ranks] } }),
    ...scale,
    weights: weights.map((row) => Array.from(row, rounded)),
  };
}

/** Features and experts of the sources beside the neighbors. */
class Silencer {
  /** Features [first, has] and experts [open, end) of each; `has` says that it is there. */
  readonly #sources: { first: number; has: number; absent: number; open: number; end: number }[] =
    [];

  constructor(
    { temperatures, ranks, usesModel, runs, cache }: GateShape,
    { means, deviations }: { means: number[]; deviations: number[] },
  ) {
    let first = ranks.length + 2 * temperatures.length + (usesModel ? 1 : 0);
    let open = 1 + temperatures.length;
    const add = (features: number, experts: number): void => {
      const has = first + features - 1;
      // What standardizing makes of 0.
      const absent = Math.max(-FEATURE_LIMIT, -means[has]! / deviations[has]!);
      this.#sources.push({ first, has, absent, open, end: open + experts });
      first += features;
      open += experts;
    };
    if (runs) add(2 * runs.length + 3, runs.length);
    if (cache)
      add(cache.ranks.length + 2 * cache.temperatures.length + 1, cache.temperatures.length);
  }

  apply(features: Float64Array, experts: Uint8Array, random: Random): void {
    for (const { first, has, absent, open, end } of this.#sources) {
      if (random.uint32() >= SILENCED * 2 ** 32) continue;
      features.fill(0, first, has);
      features[has] = absent;
      experts.fill(0, open, end);
    }
  }
}

/** Nats of the rows under a gate, each. */
export function nllOf(
  gate: GateParameters,
  rows: GateRows,
  chosen: readonly number[],
): Float64Array {
  const width = featureCount(rows.shape);
  const experts = expertCount(rows.shape);
  const own = new Float64Array(width);
  const shares = new Float64Array(experts);
  return Float64Array.from(chosen, (row) => {
    own.set(rows.features.subarray(row * width, (row + 1) * width));
    standardize(own, rows.known.subarray(row * width, (row + 1) * width), gate);
    const from = row * experts;
    gateShares(own, rows.open.subarray(from, from + experts), gate.weights, shares);
    let ratio = 0;
    for (let e = 0; e < experts; e++) ratio += shares[e]! * rows.ratios[from + e]!;
    return -(rows.lm[row]! + Math.log(ratio));
  });
}

/** (F) of the chosen rows, those alone where a feature is known. */
export function momentsOf(
  { features, known }: Pick<GateRows, 'features' | 'known'>,
  chosen: readonly number[],
  width: number,
): { means: number[]; deviations: number[] } {
  const means: number[] = [];
  const deviations: number[] = [];
  for (let f = 0; f < width; f++) {
    let sum = 0;
    let count = 0;
    for (const row of chosen) {
      if (!known[row * width + f]) continue;
      sum += features[row * width + f]!;
      count++;
    }
    const mean = count > 0 ? sum / count : 0;
    let squares = 0;
    for (const row of chosen)
      if (known[row * width + f]) squares += (features[row * width + f]! - mean) ** 2;
    means.push(rounded(mean));
    // A feature that never varies says nothing: standardized it is 0.
    deviations.push(rounded(Math.sqrt(squares / Math.max(1, count))) || 1);
  }
  return { means, deviations };
}

/** (chosen, F) */
export function standardizedRows(
  { features, known }: Pick<GateRows, 'features' | 'known'>,
  chosen: readonly number[],
  scale: { means: number[]; deviations: number[] },
): Float64Array {
  const width = scale.means.length;
  const out = new Float64Array(chosen.length * width);
  for (const [at, row] of chosen.entries()) {
    const own = out.subarray(at * width, (at + 1) * width);
    own.set(features.subarray(row * width, (row + 1) * width));
    standardize(own, known.subarray(row * width, (row + 1) * width), scale);
  }
  return out;
}

export const rounded = (x: number): number => Number(x.toPrecision(6));

function shuffle(values: Int32Array, random: Random): void {
  for (let i = values.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [values[i], values[j]] = [values[j]!, values[i]!];
  }
}

class Adam {
  readonly #mean: Float64Array;
  readonly #square: Float64Array;
  readonly #decay: number;
  #steps = 0;

  /** @param decay of the weights: the mean is climbed less so many times their squares */
  constructor(size: number, decay: number) {
    this.#decay = decay;
    this.#mean = new Float64Array(size);
    this.#square = new Float64Array(size);
  }

  /** Climbs the mean of the summed gradient; the bias, last in each row, does not decay. */
  step(
    weights: readonly Float64Array[],
    gradient: readonly Float64Array[],
    { count, rate }: { count: number; rate: number },
  ): void {
    this.#steps++;
    let i = 0;
    for (const [e, row] of weights.entries()) {
      for (let f = 0; f < row.length; f++, i++) {
        const decay = f < row.length - 1 ? 2 * this.#decay * row[f]! : 0;
        const slope = gradient[e]![f]! / count - decay;
        this.#mean[i] = 0.9 * this.#mean[i]! + 0.1 * slope;
        this.#square[i] = 0.999 * this.#square[i]! + 0.001 * slope * slope;
        const mean = this.#mean[i]! / (1 - 0.9 ** this.#steps);
        const square = this.#square[i]! / (1 - 0.999 ** this.#steps);
        row[f]! += (rate * mean) / (Math.sqrt(square) + 1e-8);
      }
    }
  }
}
