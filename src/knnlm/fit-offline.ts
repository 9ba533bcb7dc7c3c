/** All that tuning computes from cached neighbors and evidence: seconds of work, for a worker thread. */
import type { CacheSettings } from '../datastore/types.ts';
import type { EvidenceTable } from './cached-evidence.ts';
import type { NeighborTable } from './cached-neighbors.ts';
import { type SettingsSearch, searchSettings } from './search-settings.ts';
import { trainCache } from './train-cache.ts';
import { type GateParts, shapeOf, type TrainedGate, trainGate } from './train-gate.ts';
import { type TrainedSkip, trainSkip } from './train-skip.ts';

/** What may be used beside neighbors, λ and T. */
export interface TunedParts extends GateParts {
  adaptive: boolean;
}

export interface OfflineTask {
  neighbors: NeighborTable;
  /** Without it only k, λ and T are sought. */
  evidence?: EvidenceTable;
  allowed: TunedParts;
}

export interface OfflineTuning {
  search: SettingsSearch;
  /** Undefined when there were too few targets to fit one. */
  gate?: TrainedGate;
  /** For where no gate weighs the text so far. */
  cache?: CacheSettings;
  /** Undefined without a gate. */
  skip?: TrainedSkip;
}

export function fitOffline({ neighbors, evidence, allowed }: OfflineTask): OfflineTuning {
  const search = searchSettings(neighbors);
  if (!evidence || evidence.rows.length === 0) return { search };
  const point = search.best;
  const tables = { neighbors, evidence };
  const gate = trainGate(tables, { point, allowed });
  return {
    search,
    ...(gate && { gate }),
    ...(allowed.cache && { cache: trainCache(tables, point) }),
    ...(gate &&
      allowed.adaptive && {
        skip: trainSkip(tables, {
          gate: gate.gate,
          // Where nothing is searched pointers are all there is of the store.
          shape: shapeOf(point, { cache: gate.parts.cache, pointers: true }),
          k: point.k,
          chosen: gate.rows,
        }),
      }),
  };
}
