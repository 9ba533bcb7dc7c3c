/**
 * Where memory helps and where it hurts: perplexities of groups of an evaluation's targets, by how often the token stands in the
 * store, how near the nearest neighbor is, how far into its document the target stands, and what kind of document it is.
 */
import { extname } from 'node:path';
import type { SourceDocument } from '../datastore/types.ts';
import type { ScoredDocument } from './evaluate.ts';

/** Some targets of an evaluation. */
export interface BreakdownGroup {
  /** Such as `10 to 99`, `.md`. */
  group: string;
  tokens: number;
  /** Perplexity of the model alone. */
  lm: number;
  /** Of the mixture. */
  knnlm: number;
  /** Shares of targets to which the mixture gives more, and less, probability than the model alone. */
  helped: number;
  hurt: number;
}

export interface Breakdown {
  /** By occurrences of the target token in the datastore, ascending. */
  frequency: BreakdownGroup[];
  /** By squared L2 of the nearest neighbor, ascending: fifths of the targets. Those without a neighbor last. */
  distance: BreakdownGroup[];
  /** By position in the document, ascending. */
  position: BreakdownGroup[];
  /** By `type` of the document's metadata, or the ending of its file; most targets first. */
  type: BreakdownGroup[];
}

const FREQUENCIES = [1, 10, 100, 1000, 10_000];
const POSITIONS = [16, 64, 256, 1024];
const FIFTHS = [0.2, 0.4, 0.6, 0.8];
const MOST_TYPES = 20;

/** Sums of one group. */
class Sums {
  tokens = 0;
  lm = 0;
  knnlm = 0;
  helped = 0;
  hurt = 0;

  add(lm: number, mixture: number): void {
    this.tokens++;
    this.lm -= lm;
    this.knnlm -= mixture;
    if (mixture > lm) this.helped++;
    else if (mixture < lm) this.hurt++;
  }

  told(group: string): BreakdownGroup {
    const { tokens, lm, knnlm, helped, hurt } = this;
    return {
      group,
      tokens,
      lm: Math.exp(lm / tokens),
      knnlm: Math.exp(knnlm / tokens),
      helped: helped / tokens,
      hurt: hurt / tokens,
    };
  }
}

/** @param scored with notes @param counts (V) occurrences of each token in the datastore */
export function breakdownOf(
  scored: readonly ScoredDocument[],
  counts: ArrayLike<number>,
): Breakdown {
  const nearest = Float32Array.from(
    scored.flatMap(({ notes }) => Array.from(notes!.nearest).filter(Number.isFinite)),
  ).sort();
  const fifths = [
    ...new Set(FIFTHS.map((share) => nearest[Math.floor(share * nearest.length)] ?? 0)),
  ];
  const frequency = new Ranges(FREQUENCIES, whole);
  const position = new Ranges(POSITIONS, whole);
  const distance = new Ranges(fifths, real);
  const unfound = new Sums();
  const types = new Map<string, Sums>();
  for (const { document, targets, lm, mixture, notes } of scored) {
    const type = typeOf(document);
    let own = types.get(type);
    if (!own) types.set(type, (own = new Sums()));
    for (let i = 0; i < targets.length; i++) {
      const [alone, mixed, away] = [lm[i]!, mixture[i]!, notes!.nearest[i]!];
      frequency.at(counts[targets[i]!]!).add(alone, mixed);
      position.at(i).add(alone, mixed);
      (Number.isFinite(away) ? distance.at(away) : unfound).add(alone, mixed);
      own.add(alone, mixed);
    }
  }
  const byTokens = [...types].sort(([, a], [, b]) => b.tokens - a.tokens);
  return {
    frequency: frequency.told(),
    distance: [
      ...(nearest.length > 0 ? distance.told() : []),
      ...(unfound.tokens > 0 ? [unfound.told('no neighbor')] : []),
    ],
    position: position.told(),
    type: byTokens.slice(0, MOST_TYPES).map(([type, sums]) => sums.told(type)),
  };
}

const whole = (low: number, end: number): string => {
  if (end === Number.POSITIVE_INFINITY) return `${low} or more`;
  return low === end - 1 ? `${low}` : `${low} to ${end - 1}`;
};
const real = (low: number, end: number): string => {
  const [from, to] = [low, end].map((value) => String(Number(value.toPrecision(3))));
  if (low === 0) return `below ${to}`;
  return end === Number.POSITIVE_INFINITY ? `${from} or more` : `${from} to ${to}`;
};

/** Sums by ranges of a number: below the first bound, from each bound to the next, and beyond. */
class Ranges {
  readonly #bounds: readonly number[];
  readonly #sums: Sums[];
  readonly #name: (low: number, end: number) => string;

  /** @param bounds ascending */
  constructor(bounds: readonly number[], name: (low: number, end: number) => string) {
    this.#bounds = bounds;
    this.#sums = Array.from({ length: bounds.length + 1 }, () => new Sums());
    this.#name = name;
  }

  at(value: number): Sums {
    let range = 0;
    while (range < this.#bounds.length && value >= this.#bounds[range]!) range++;
    return this.#sums[range]!;
  }

  /** Of those that have any targets. */
  told(): BreakdownGroup[] {
    const ends = [...this.#bounds, Number.POSITIVE_INFINITY];
    return this.#sums.flatMap((sums, i) =>
      sums.tokens > 0 ? [sums.told(this.#name(this.#bounds[i - 1] ?? 0, ends[i]!))] : [],
    );
  }
}

/** A row's file is `rows.jsonl.gz#12`. */
function typeOf({ id, source, metadata }: SourceDocument): string {
  if (typeof metadata?.type === 'string') return metadata.type;
  const file = source.replace(/#\d+$/, '').replace(/\.gz$/, '');
  return extname(id) || extname(file) || 'other';
}
