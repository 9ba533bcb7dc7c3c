/**
 * When to skip a search, learned on cached evidence of which every search was made. Half of the searches, drawn by chance, are
 * taken as not made: so a gate is fitted for what is known without a search, and a regression that foretells what a
 * search would have gained over it. Then the text is read again with the searches that the regression asks for, at
 * several thresholds: how many are skipped and what that costs.
 */
import { expertCount, type GateShape, skipFeatureCount } from '../datastore/gate-sizes.ts';
import type { GateParameters, SkipParameters } from '../datastore/types.ts';
import { logLinear } from '../math/log-linear.ts';
import { Random } from '../math/random.ts';
import { mostGroups } from './cached-evidence.ts';
import { fitGate, momentsOf, nllOf, rounded, standardizedRows } from './fit-gate.ts';
import { standardize } from './gate-reader.ts';
import { EvidenceReader, type FittingTables, gateRows } from './gate-rows.ts';
import { promiseOf, SkipReader, square } from './skip.ts';
import { TargetReader } from './target-reader.ts';

/** Gains beyond are cut: a few tokens must not decide. Nats. */
const LEAST_GAIN = -0.5;
const MOST_GAIN = 6;
/** Shares of the searches for which thresholds are sought. */
const SHARES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8];

/** Reading with some searches skipped. */
export interface SkipPoint {
  /** Of the searches. */
  skipped: number;
  threshold: number;
  perplexity: number;
}

export interface TrainedSkip {
  skip: SkipParameters;
  /** Perplexity when every search is made, on the same targets. */
  always: number;
  /** By ascending share skipped. */
  points: SkipPoint[];
}

/**
 * @param gate for where the index is asked
 * @param shape of the gate for where it is not
 * @param k of the searches
 * @param chosen rows to learn from
 */
export function trainSkip(
  tables: FittingTables,
  options: { gate: GateParameters; shape: GateShape; k: number; chosen: readonly number[] },
): TrainedSkip {
  const { gate, shape, k, chosen } = options;
  const { evidence } = tables;
  const searches = randomSearches(evidence.lanes);
  const before = searches.map((bits) => (bits & ~1) >>> 0);
  const asked = searches.map((bits) => (bits | 1) >>> 0);
  const searched = gateRows(tables, { shape: gate, k, searches: asked });
  const skipped = gateRows(tables, { shape, k, searches: before });
  const experts = expertCount(shape);
  const hasAnything = (row: number): boolean =>
    skipped.open.subarray(row * experts, (row + 1) * experts).some((open, e) => e > 0 && open > 0);
  const skipGate = fitGate(skipped, chosen.filter(hasAnything));
  const known = nllOf(gate, searched, chosen);
  const unknown = nllOf(skipGate, skipped, chosen);
  const gains = Array.from(chosen, (_, i) =>
    Math.max(LEAST_GAIN, Math.min(MOST_GAIN, unknown[i]! - known[i]!)),
  );
  const rows = skipRows(tables, { shape, k, before });
  const scale = momentsOf(rows, chosen, skipFeatureCount(shape));
  const width = scale.means.length;
  const features = withSquares(standardizedRows(rows, chosen, scale), width);
  const weights = Array.from(logLinear(features, gains), rounded);
  const skip: SkipParameters = { gate: skipGate, ...scale, weights, thresholds: [] };
  const promised = gains.map((_, i) =>
    promiseOf(features.subarray(2 * i * width, (2 * i + 1) * width), weights),
  );
  promised.sort((a, b) => a - b);
  const nlls = new Map(chosen.map((row, i) => [row, known[i]!]));
  const replay = new Replay(tables, { skip, k, chosen, known: (at) => nlls.get(at)! });
  const points = SHARES.map((share) =>
    replay.run(rounded(promised[Math.floor(share * promised.length)]!)),
  ).sort((a, b) => a.skipped - b.skipped);
  return {
    skip: {
      ...skip,
      thresholds: points.map((point) => ({
        skipped: rounded(point.skipped),
        threshold: point.threshold,
      })),
    },
    always: Math.exp(known.reduce((sum, nll) => sum + nll, 0) / known.length),
    points,
  };
}

/** (m, 2 F) each row's features, then their squares. @param features (m, F) */
function withSquares(features: Float64Array, width: number): Float64Array {
  const out = new Float64Array(2 * features.length);
  for (let from = 0; from < features.length; from += width) {
    const own = features.subarray(from, from + width);
    out.set(own, 2 * from);
    out.set(own.map(square), 2 * from + width);
  }
  return out;
}

/** Of each row: bit j, whether the search j tokens ago is taken as made. Even chances. */
function randomSearches(lanes: Int32Array): Uint32Array {
  const random = new Random(1);
  let searches = 0;
  return Uint32Array.from(lanes, (lane, at) => {
    const before = at > 0 && lanes[at - 1] === lane ? searches : 0;
    searches = ((before << 1) | (random.uint32() & 1)) >>> 0;
    return searches;
  });
}

/** What is known before a search of each row. @param before (m) searches made before it */
function skipRows(
  tables: FittingTables,
  { shape, k, before }: { shape: GateShape; k: number; before: Uint32Array },
): { features: Float32Array; known: Uint8Array } {
  const { evidence } = tables;
  const reader = new EvidenceReader(tables, k);
  const own = new SkipReader(shape, mostGroups(evidence));
  const width = skipFeatureCount(shape);
  const features = new Float32Array(before.length * width);
  const known = new Uint8Array(before.length * width);
  for (let at = 0; at < before.length; at++) {
    own.read(reader.read(at, before[at]!), lastNearest(tables, at, before[at]!));
    features.set(own.features, at * width);
    known.set(own.known, at * width);
  }
  return { features, known };
}

/** Squared L2 of the last search made before a row. */
function lastNearest(
  { neighbors, evidence }: FittingTables,
  at: number,
  before: number,
): number | undefined {
  const bits = (before & ~1) >>> 0;
  if (bits === 0) return undefined;
  // The lowest bit that is set.
  const back = 31 - Math.clz32(bits & -bits);
  return neighbors.distances[evidence.rows[at - back]! * neighbors.k];
}

export interface ReplayOptions {
  skip: SkipParameters;
  k: number;
  chosen: readonly number[];
  /** Nats of a chosen row where it is searched. @param searches those that were made, its own included */
  known: (at: number, searches: number) => number;
}

/** Reads a text again, each search made or skipped by what was known. */
export class Replay {
  readonly #tables: FittingTables;
  readonly #options: ReplayOptions;
  readonly #evidence: EvidenceReader;
  readonly #skip: SkipReader;
  readonly #target: TargetReader;
  readonly #chosen: ReadonlySet<number>;

  constructor(tables: FittingTables, options: ReplayOptions) {
    this.#tables = tables;
    this.#options = options;
    const voters = mostGroups(tables.evidence);
    this.#evidence = new EvidenceReader(tables, options.k);
    this.#skip = new SkipReader(options.skip.gate, voters);
    this.#target = new TargetReader(options.skip.gate, voters);
    this.#chosen = new Set(options.chosen);
  }

  run(threshold: number): SkipPoint {
    const { neighbors, evidence } = this.#tables;
    const { skip, known: knownOf } = this.#options;
    const { lanes, rows, targets } = evidence;
    let searches = 0;
    let nll = 0;
    let skippedRows = 0;
    for (let at = 0; at < lanes.length; at++) {
      const before = at > 0 && lanes[at - 1] === lanes[at] ? (searches << 1) >>> 0 : 0;
      const grouped = this.#evidence.read(at, before);
      this.#skip.read(grouped, lastNearest(this.#tables, at, before));
      const { features, known } = this.#skip;
      standardize(features, known, skip);
      const isSearched = promiseOf(features, skip.weights) > threshold;
      searches = (before | (isSearched ? 1 : 0)) >>> 0;
      if (!this.#chosen.has(at)) continue;
      if (isSearched) nll += knownOf(at, searches);
      else {
        const lm = neighbors.lm[rows[at]!]!;
        nll -= lm + Math.log(this.#target.ratio(grouped, targets[at]!, lm));
        skippedRows++;
      }
    }
    const count = this.#chosen.size;
    return { threshold, skipped: skippedRows / count, perplexity: Math.exp(nll / count) };
  }
}
