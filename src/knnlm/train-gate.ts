/**
 * Fits the gate on cached neighbors: maximum likelihood of the mixture by Adam (Kingma & Ba 2015), full batches,
 * features standardized, a little weight decay. Runs in the worker of the settings search, in seconds.
 */
import type { GateParameters } from '../datastore/types.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import { featureCount, GateFeatures, type GateShape, gateShares, standardize } from './gate.ts';
import type { SettingsPoint } from './search-settings.ts';

/** Temperatures of the gate, as multiples of the tuned one. */
const TEMPERATURES = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4];
const STEPS = 200;
const RATE = 0.03;
const DECAY = 1e-4;
/** Fewer targets cannot fit a hundred weights. */
export const FEWEST_GATE_TARGETS = 500;

export interface TrainedGate {
  gate: GateParameters;
  /** Targets it was trained on. */
  targets: number;
  /** Perplexity on those. */
  perplexity: number;
  /** Trained on half of the units, measured on the other half, both ways. */
  crossValidated: number;
  /** Perplexity of the constant λ and T on the same targets. */
  constant: number;
}

/** Shapes: m rows, F features, J temperatures. */
export interface GateRows {
  shape: GateShape;
  /** (m, F) raw features. */
  features: Float64Array;
  /** (m, J + 1) p of the target under the model and under p_kNN at each temperature, over the model's: the first is 1. */
  ratios: Float64Array;
  /** (m) log p_LM. */
  lm: Float32Array;
  /** (m) */
  units: Int32Array;
}

/** Undefined when there are too few targets with neighbors. */
export function trainGate(
  table: NeighborTable,
  { k, temperature, lambda }: SettingsPoint,
): TrainedGate | undefined {
  const rows = gateRows(table, k, temperature);
  const count = rows.lm.length;
  if (count < FEWEST_GATE_TARGETS) return undefined;
  const all = Array.from({ length: count }, (_, row) => row);
  const halves = [0, 1].map((half) => all.filter((row) => rows.units[row]! % 2 === half));
  if (halves.some(({ length }) => length < FEWEST_GATE_TARGETS / 4)) {
    halves[0] = all.slice(0, count >> 1);
    halves[1] = all.slice(count >> 1);
  }
  let nll = 0;
  for (const half of [0, 1]) nll += nllOf(fitGate(rows, halves[half]!), rows, halves[1 - half]!);
  const gate = fitGate(rows, all);
  return {
    gate,
    targets: count,
    perplexity: Math.exp(nllOf(gate, rows, all) / count),
    crossValidated: Math.exp(nll / count),
    constant: Math.exp(constantNll(rows, lambda) / count),
  };
}

/** Features and target probabilities of the targets whose groups were kept and for which anything was found. */
export function gateRows(table: NeighborTable, k: number, temperature: number): GateRows {
  const ranks = [1, 4, 16, 64, 256, 1024, 4096].filter((rank) => rank <= k);
  const temperatures = TEMPERATURES.map((factor) => factor * temperature);
  const shape: GateShape = { temperatures, ranks };
  const width = featureCount(shape);
  const reader = new GateFeatures(shape, k);
  const kept: number[] = [];
  for (let row = 0; row < table.targets; row += table.groupsEvery) {
    if (table.distances[row * table.k] !== Number.POSITIVE_INFINITY) kept.push(row);
  }
  const rows: GateRows = {
    shape,
    features: new Float64Array(kept.length * width),
    ratios: new Float64Array(kept.length * (temperatures.length + 1)),
    lm: Float32Array.from(kept, (row) => table.lm[row]!),
    units: Int32Array.from(kept, (row) => table.units[row]!),
  };
  kept.forEach((row, at) => {
    const start = row * table.k;
    const distances = table.distances.subarray(start, start + k);
    const groupStart = (row / table.groupsEvery) * table.k;
    const groups = table.groups.subarray(groupStart, groupStart + k);
    let count = k;
    while (distances[count - 1] === Number.POSITIVE_INFINITY) count--;
    reader.read(distances, groups, count);
    rows.features.set(reader.features, at * width);
    const group = targetGroup(table, row, count, groups);
    const out = at * (temperatures.length + 1);
    const perLm = Math.exp(-table.lm[row]!);
    rows.ratios[out] = 1;
    for (let t = 0; t < temperatures.length; t++) {
      rows.ratios[out + 1 + t] = group < 0 ? 0 : reader.shares[t * k + group]! * perLm;
    }
  });
  return rows;
}

/** The group of the neighbors that voted for the target; -1 when none did. */
function targetGroup(
  { k, matches }: NeighborTable,
  row: number,
  count: number,
  groups: Uint16Array,
): number {
  const start = row * Math.ceil(k / 8);
  for (let i = 0; i < count; i++) {
    if ((matches[start + (i >> 3)]! >> (i & 7)) & 1) return groups[i]!;
  }
  return -1;
}

/** @param chosen rows to fit on */
function fitGate(rows: GateRows, chosen: readonly number[]): GateParameters {
  const width = featureCount(rows.shape);
  const outputs = rows.shape.temperatures.length + 1;
  const scale = momentsOf(rows, chosen);
  const features = new Float64Array(chosen.length * width);
  chosen.forEach((row, at) => {
    const own = features.subarray(at * width, (at + 1) * width);
    own.set(rows.features.subarray(row * width, (row + 1) * width));
    standardize(own, scale);
  });
  const size = width + 1;
  const weights = Array.from({ length: outputs }, () => new Float64Array(size));
  const gradient = Array.from({ length: outputs }, () => new Float64Array(size));
  const adam = new Adam(outputs * size);
  const shares = new Float64Array(outputs);
  for (let step = 0; step < STEPS; step++) {
    for (const row of gradient) row.fill(0);
    for (let at = 0; at < chosen.length; at++) {
      const own = features.subarray(at * width, (at + 1) * width);
      gateShares(own, weights, shares);
      const from = chosen[at]! * outputs;
      let ratio = 0;
      for (let j = 0; j < outputs; j++) ratio += shares[j]! * rows.ratios[from + j]!;
      for (let j = 0; j < outputs; j++) {
        // d log(Σ g r) / d logit_j = g_j (r_j / Σ g r - 1): responsibility minus share.
        const slope = shares[j]! * (rows.ratios[from + j]! / ratio - 1);
        const out = gradient[j]!;
        for (let f = 0; f < width; f++) out[f]! += slope * own[f]!;
        out[width]! += slope;
      }
    }
    adam.step(weights, gradient, { count: chosen.length, rate: RATE * (1 - step / STEPS) });
  }
  return {
    temperatures: [...rows.shape.temperatures],
    ranks: [...rows.shape.ranks],
    ...scale,
    weights: weights.map((row) => Array.from(row, (x) => Number(x.toPrecision(6)))),
  };
}

/** Under the tuned λ and T, which is one of the gate's temperatures. */
function constantNll({ ratios, lm }: GateRows, lambda: number): number {
  const outputs = TEMPERATURES.length + 1;
  const tuned = 1 + TEMPERATURES.indexOf(1);
  let nll = 0;
  for (let row = 0; row < lm.length; row++) {
    nll -= lm[row]! + Math.log1p(lambda * (ratios[row * outputs + tuned]! - 1));
  }
  return nll;
}

class Adam {
  readonly #mean: Float64Array;
  readonly #square: Float64Array;
  #steps = 0;

  constructor(size: number) {
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
    weights.forEach((row, j) => {
      for (let f = 0; f < row.length; f++, i++) {
        const decay = f < row.length - 1 ? 2 * DECAY * row[f]! : 0;
        const slope = gradient[j]![f]! / count - decay;
        this.#mean[i] = 0.9 * this.#mean[i]! + 0.1 * slope;
        this.#square[i] = 0.999 * this.#square[i]! + 0.001 * slope * slope;
        const mean = this.#mean[i]! / (1 - 0.9 ** this.#steps);
        const square = this.#square[i]! / (1 - 0.999 ** this.#steps);
        row[f]! += (rate * mean) / (Math.sqrt(square) + 1e-8);
      }
    });
  }
}

function momentsOf(
  { shape, features }: GateRows,
  chosen: readonly number[],
): { means: number[]; deviations: number[] } {
  const width = featureCount(shape);
  const means: number[] = [];
  const deviations: number[] = [];
  for (let f = 0; f < width; f++) {
    let sum = 0;
    let squares = 0;
    for (const row of chosen) sum += features[row * width + f]!;
    const mean = sum / chosen.length;
    for (const row of chosen) squares += (features[row * width + f]! - mean) ** 2;
    means.push(Number(mean.toPrecision(6)));
    // A feature that never varies says nothing: standardized it is 0.
    deviations.push(Number(Math.sqrt(squares / chosen.length).toPrecision(6)) || 1);
  }
  return { means, deviations };
}

/** Nats of the rows under a gate. */
export function nllOf(gate: GateParameters, rows: GateRows, chosen: readonly number[]): number {
  const width = featureCount(rows.shape);
  const outputs = gate.weights.length;
  const own = new Float64Array(width);
  const shares = new Float64Array(outputs);
  let nll = 0;
  for (const row of chosen) {
    own.set(rows.features.subarray(row * width, (row + 1) * width));
    standardize(own, gate);
    gateShares(own, gate.weights, shares);
    let ratio = 0;
    for (let j = 0; j < outputs; j++) ratio += shares[j]! * rows.ratios[row * outputs + j]!;
    nll -= rows.lm[row]! + Math.log(ratio);
  }
  return nll;
}
