/** What a result tells of the settings it was made with: not a gate's numbers, only that there was one. */
import type { SettingsRecord } from '../datastore/types.ts';
import type { ResolvedSettings, UsedSettings } from './types.ts';

export function usedSettings(settings: ResolvedSettings): UsedSettings {
  const { k, lambda, temperature, gate, stores, lambdas } = settings;
  const { cache, pointers, minPointers, skip, effort, semantics } = settings;
  return {
    k,
    lambda,
    temperature,
    ...(gate && { gate: true as const }),
    ...(cache && { cache: { lambda: cache.lambda, temperature: cache.temperature } }),
    ...(pointers && { pointers: true as const }),
    ...(minPointers !== undefined && { minPointers }),
    ...(skip && { adaptive: skip.share }),
    ...(effort !== undefined && { effort }),
    ...(semantics && { semantics }),
    ...(stores && { stores }),
    ...(lambdas && {
      lambdas: Object.fromEntries(lambdas.map(({ name, lambda }) => [name, lambda])),
    }),
  };
}

/** Those that a datastore keeps. */
export function storedSettings({ skip, adaptive, ...settings }: SettingsRecord): UsedSettings {
  return { ...usedSettings(settings), ...(adaptive !== undefined && { adaptive }) };
}
