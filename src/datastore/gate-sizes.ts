/** How many numbers a gate has: what reads it and what stores it agree here. */
import type { GateParameters } from './types.ts';

/** What a gate looks at, and what it weighs. */
export type GateShape = Pick<
  GateParameters,
  'temperatures' | 'ranks' | 'runs' | 'cache' | 'usesModel'
>;

/** F: for each source the distances at its ranks, two numbers per temperature, and whether it says anything. */
export function featureCount({ temperatures, ranks, runs, cache, usesModel }: GateShape): number {
  return (
    ranks.length +
    2 * temperatures.length +
    (usesModel ? 1 : 0) +
    (runs ? 2 * runs.length + 3 : 0) +
    (cache ? cache.ranks.length + 2 * cache.temperatures.length + 1 : 0)
  );
}

/** E: the model, and every source at each of its temperatures. */
export function expertCount({ temperatures, runs = [], cache }: GateShape): number {
  return 1 + temperatures.length + runs.length + (cache?.temperatures.length ?? 0);
}

/** The part of a gate's shape that can be read before a search. */
export const beforeSearch = ({ runs, cache, usesModel }: GateShape): GateShape => ({
  temperatures: [],
  ranks: [],
  ...(usesModel && { usesModel }),
  ...(runs && { runs }),
  ...(cache && { cache }),
});

/** F of `SkipParameters`: those of its gate before a search, whether there was a search before, and how near its nearest was. */
export const skipFeatureCount = (shape: GateShape): number => featureCount(beforeSearch(shape)) + 2;
