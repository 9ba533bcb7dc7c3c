/** Weight and temperature of the text's own past where no gate weighs it: on top of the constant λ and T. */
import type { CacheSettings } from '../datastore/types.ts';
import { bestLambda, logGain } from './best-lambda.ts';
import { rounded } from './fit-gate.ts';
import type { FittingTables } from './gate-rows.ts';
import { gainsAt, type SettingsPoint } from './search-settings.ts';
import { VoteSummary } from './vote-summary.ts';

/** As multiples of the tuned T: ascending, each twice the one before. */
const TEMPERATURES = [1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4];
/** Groups are numbered in 16 bits. */
const MOST_GROUPS = 65_536;

export function trainCache(tables: FittingTables, point: SettingsPoint): CacheSettings {
  const temperatures = TEMPERATURES.map((factor) => factor * point.temperature);
  const points = cacheGains(tables, point, temperatures).map((gains, t) => {
    const best = bestLambda(gains);
    return { lambda: best, temperature: temperatures[t]!, gained: logGain(gains, best) };
  });
  const chosen = points.reduce((a, b) => (b.gained > a.gained ? b : a));
  return { lambda: Number(chosen.lambda.toFixed(4)), temperature: rounded(chosen.temperature) };
}

/**
 * p_cache / p_without - 1 of each kept target, 0 where nothing is remembered, for each temperature.
 * @param temperatures ascending, each twice the one before
 */
export function cacheGains(
  { neighbors, evidence }: FittingTables,
  { k, temperature, lambda }: Pick<SettingsPoint, 'k' | 'temperature' | 'lambda'>,
  temperatures: readonly number[],
): Float32Array[] {
  const { rows, targets, cached } = evidence;
  const gains = gainsAt(neighbors, k, temperature, rows);
  const summary = new VoteSummary(temperatures, MOST_GROUPS);
  const own = temperatures.map(() => new Float32Array(rows.length));
  for (const [at, row] of rows.entries()) {
    const count = cached.counts[at]!;
    if (count === 0) continue;
    const [start, end] = [at * cached.room, at * cached.room + count];
    const distances = cached.distances.subarray(start, end);
    summary.read({ distances, groups: cached.groups.subarray(start, end), count });
    const without = Math.exp(neighbors.lm[row]!) * (1 + lambda * gains[at]!);
    const group = targets[at]!;
    for (let t = 0; t < temperatures.length; t++) {
      const share = group < 0 ? 0 : summary.share(t, group);
      own[t]![at] = without > 0 ? share / without - 1 : 0;
    }
  }
  return own;
}
