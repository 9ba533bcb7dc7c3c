/**
 * Which searches to skip: what a search would gain is foretold from what is known before it (He et al. 2021, "Efficient Nearest
 * Neighbor Language Models", adaptive retrieval): how sure the model is, the pointers and for how long they have gone along with the
 * text, the text's own past, and how near the last search's neighbors were. A log-linear regression of the nats gained on these and their
 * squares, fitted by `train-skip.ts`; the index is asked where it promises more than a threshold. The query itself, which He et
 * al. read too, adds nothing to these.
 */
import { beforeSearch, type GateShape, skipFeatureCount } from '../datastore/gate-sizes.ts';
import type { SkipParameters } from '../datastore/types.ts';
import { CACHE_NEIGHBORS } from './continuous-cache.ts';
import { EvidenceGroups } from './evidence-groups.ts';
import { GateReader, type GroupedEvidence, standardize } from './gate-reader.ts';
import { MOST_POINTERS } from './pointers.ts';
import type { Recall } from './recall.ts';
import type { ResolvedSettings } from './types.ts';

/** Reads the features of one query after another. Shapes: F features. */
export class SkipReader {
  /** (F) of the query read last. */
  readonly features: Float64Array;
  /** (F) 0 where there is nothing to tell. */
  readonly known: Uint8Array;
  readonly #reader: GateReader;

  /** @param voters most of one query, all sources together; their groups are numbered below it */
  constructor(shape: GateShape, voters: number) {
    this.#reader = new GateReader(beforeSearch(shape), voters);
    this.features = new Float64Array(skipFeatureCount(shape));
    this.known = new Uint8Array(this.features.length);
  }

  /** @param lastNearest squared L2 of the lane's last search; undefined before the first */
  read(evidence: GroupedEvidence, lastNearest: number | undefined): void {
    this.#reader.read(evidence);
    this.features.set(this.#reader.features);
    this.known.set(this.#reader.known);
    const at = this.#reader.features.length;
    const isKnown = lastNearest !== undefined && lastNearest < Number.POSITIVE_INFINITY;
    this.features[at] = isKnown ? 1 : 0;
    this.known[at] = 1;
    this.features[at + 1] = isKnown ? lastNearest : 0;
    this.known[at + 1] = isKnown ? 1 : 0;
  }
}

/** Readers and groups serve all texts: a query is read and judged at once. */
const readers = new WeakMap<SkipParameters, SkipReader>();
const groups = new EvidenceGroups();

/** Foretells what a search would gain. */
export class SkipPredictor {
  readonly #parameters: SkipParameters;
  readonly #threshold: number;
  readonly #reader: SkipReader;

  constructor({ parameters, threshold }: NonNullable<ResolvedSettings['skip']>) {
    this.#parameters = parameters;
    this.#threshold = threshold;
    this.#reader =
      readers.get(parameters) ?? new SkipReader(parameters.gate, MOST_POINTERS + CACHE_NEIGHBORS);
    readers.set(parameters, this.#reader);
  }

  /** @param values token ids that followed what is pointed at */
  isWorthIt({ lane, ...known }: Recall, values: ArrayLike<number>): boolean {
    const evidence = groups.readBefore(lane.pointed.histories, values, known);
    this.#reader.read(evidence, lane.lastNearest);
    const { features } = this.#reader;
    standardize(features, this.#reader.known, this.#parameters);
    return promiseOf(features, this.#parameters.weights) > this.#threshold;
  }
}

/** The threshold at which about a share of the searches is skipped, between those that were measured. */
export function thresholdFor(share: number, { thresholds }: SkipParameters): number {
  const above = thresholds.findIndex(({ skipped }) => skipped >= share);
  if (above === 0) return thresholds[0]!.threshold;
  if (above < 0) return thresholds.at(-1)!.threshold;
  const [a, b] = [thresholds[above - 1]!, thresholds[above]!];
  const part = (share - a.skipped) / (b.skipped - a.skipped);
  return a.threshold + part * (b.threshold - a.threshold);
}

/** Of a standardized feature: far from its mean it must not decide alone. */
export const square = (feature: number): number => Math.min(4, feature * feature - 1);

/**
 * What a search is expected to gain: the log of nats.
 * @param features (F) standardized @param weights (2 F + 1); those of (F + 1), of earlier stores, are nats
 */
export function promiseOf(features: ArrayLike<number>, weights: ArrayLike<number>): number {
  const width = features.length;
  const withSquares = weights.length > width + 1;
  let promise = weights[weights.length - 1]!;
  for (let f = 0; f < width; f++) {
    promise += weights[f]! * features[f]!;
    if (withSquares) promise += weights[width + f]! * square(features[f]!);
  }
  return promise;
}
