/**
 * Which gate a text wants: fitted to its cached neighbors without and with the text's own past and pointers, each on one half of the
 * text and measured on the other, both ways. What does not pay is left out. Runs in the worker of the settings search, in seconds.
 */
import type { GateShape } from '../datastore/gate-sizes.ts';
import type { GateParameters } from '../datastore/types.ts';
import type { EvidenceTable } from './cached-evidence.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import { fitGate, nllOf } from './fit-gate.ts';
import { type FittingTables, type GateRows, gateRows, narrowRows } from './gate-rows.ts';
import { gainsAt, type SettingsPoint } from './search-settings.ts';

/** Temperatures of the neighbors, as multiples of the tuned one. */
const TEMPERATURES = [1 / 8, 1 / 4, 1 / 2, 1, 2, 4];
const RANKS = [1, 4, 16, 64, 256, 1024, 4096];
/** Those of the text's own past: what is near in it is nearer. */
const CACHE_TEMPERATURES = [1 / 8, 1 / 4, 1 / 2, 1];
const CACHE_RANKS = [1, 4, 16, 64];
/** Tokens of a run in which a pointer's vote grows by e. */
const RUNS = [1 / 2, 1, 2, 4, 8];
/** Fewer targets cannot fit a hundred weights. */
export const FEWEST_GATE_TARGETS = 500;
/** A part must lower perplexity by this share, or it is not worth its work. */
const LEAST_GAIN = 1e-3;

/** What a gate may look at beside the neighbors. */
export interface GateParts {
  cache: boolean;
  pointers: boolean;
}

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
  /** The same as `crossValidated` for every choice of parts that was tried. */
  tried: (GateParts & { crossValidated: number })[];
  /** The best of them. */
  parts: GateParts;
  /** Rows of the evidence that it was trained on. */
  rows: number[];
}

export function shapeOf(
  { k, temperature }: Pick<SettingsPoint, 'k' | 'temperature'>,
  { cache, pointers }: GateParts,
): GateShape {
  const scaled = (factors: readonly number[]) => factors.map((factor) => factor * temperature);
  return {
    temperatures: scaled(TEMPERATURES),
    ranks: RANKS.filter((rank) => rank <= k),
    usesModel: true,
    ...(pointers && { runs: RUNS }),
    ...(cache && { cache: { temperatures: scaled(CACHE_TEMPERATURES), ranks: CACHE_RANKS } }),
  };
}

/** @param allowed parts that may be used. Undefined when there are too few targets with neighbors. */
export function trainGate(
  { neighbors, evidence }: FittingTables,
  { point, allowed }: { point: SettingsPoint; allowed: GateParts },
): TrainedGate | undefined {
  const all = gateRows({ neighbors, evidence }, { shape: shapeOf(point, allowed), k: point.k });
  const rowsOf = (parts: GateParts): GateRows => narrowRows(all, shapeOf(point, parts));
  const plain = rowsOf({ cache: false, pointers: false });
  const usable = usableRows(plain);
  if (usable.length < FEWEST_GATE_TARGETS) return undefined;
  const halves = halve(plain, usable);
  const choices = choicesOf(allowed).map((parts) => {
    const rows = parts.cache || parts.pointers ? rowsOf(parts) : plain;
    return { parts, rows, crossValidated: crossValidate(rows, halves) };
  });
  const least = Math.min(...choices.map(({ crossValidated }) => crossValidated));
  // The fewest parts come first.
  const chosen = choices.find((one) => one.crossValidated <= least * (1 + LEAST_GAIN))!;
  const gate = fitGate(chosen.rows, usable);
  return {
    gate,
    targets: usable.length,
    perplexity: perplexityOf(nllOf(gate, chosen.rows, usable)),
    crossValidated: chosen.crossValidated,
    constant: constantPerplexity(neighbors, evidence, point, usable),
    tried: choices.map(({ parts, crossValidated }) => ({ ...parts, crossValidated })),
    parts: chosen.parts,
    rows: usable,
  };
}

function choicesOf({ cache, pointers }: GateParts): GateParts[] {
  return [
    { cache: false, pointers: false },
    { cache: true, pointers: false },
    { cache: false, pointers: true },
    { cache: true, pointers: true },
  ].filter((parts) => (cache || !parts.cache) && (pointers || !parts.pointers));
}

/** Rows for which the search found anything. */
function usableRows({ open, lm }: GateRows): number[] {
  const experts = open.length / lm.length;
  return Array.from(lm.keys()).filter((row) => open[row * experts + 1]);
}

/** Alternate units; of few units the first half of the rows and the second. */
function halve({ units }: GateRows, rows: readonly number[]): [number[], number[]] {
  const halves: [number[], number[]] = [
    rows.filter((row) => units[row]! % 2 === 0),
    rows.filter((row) => units[row]! % 2 === 1),
  ];
  if (halves.every(({ length }) => length >= FEWEST_GATE_TARGETS / 4)) return halves;
  const middle = rows.length >> 1;
  return [rows.slice(0, middle), rows.slice(middle)];
}

function crossValidate(rows: GateRows, [one, other]: [number[], number[]]): number {
  const nlls = [
    nllOf(fitGate(rows, one), rows, other),
    nllOf(fitGate(rows, other), rows, one),
  ] as const;
  const total = sum(nlls[0]) + sum(nlls[1]);
  return Math.exp(total / (one.length + other.length));
}

/** Under the tuned λ and T. */
function constantPerplexity(
  neighbors: NeighborTable,
  { rows }: EvidenceTable,
  { k, temperature, lambda }: SettingsPoint,
  usable: readonly number[],
): number {
  const chosen = usable.map((at) => rows[at]!);
  const gains = gainsAt(neighbors, k, temperature, chosen);
  const nlls = chosen.map((row, i) => -(neighbors.lm[row]! + Math.log1p(lambda * gains[i]!)));
  return perplexityOf(Float64Array.from(nlls));
}

const sum = (values: Float64Array): number => values.reduce((all, value) => all + value, 0);
const perplexityOf = (nll: Float64Array): number => Math.exp(sum(nll) / nll.length);
