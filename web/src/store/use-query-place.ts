/** Where a context lies on the map: one that was typed, or that of a token of a text. */
import type { DetokenizeReply, ProjectReply } from '../../../src/server/wire.ts';
import { request } from '../state/api.ts';
import { useLoaded, useSettled } from '../state/hooks.ts';
import type { Inspection } from '../state/inspection.ts';

/** Keys on the map: what is projected must be told which map it is for. */
export const SAMPLE = 2000;

export interface QueryPlace {
  place?: ProjectReply;
  /** The context. */
  text?: string;
  error?: Error;
}

/** @param isReady whether there is a map */
export function useQueryPlace(
  store: string,
  { context = '', ids }: Inspection,
  isReady: boolean,
): QueryPlace {
  const typed = useSettled(context.trim(), 400);
  const asked = typed ? { context: typed } : ids?.length ? { token_ids: ids } : undefined;
  const place = useLoaded<ProjectReply>(
    asked && isReady ? JSON.stringify([store, asked]) : null,
    (signal) =>
      request('/v1/knn/map/project', { signal, body: { ...asked, store, sample: SAMPLE } }),
  );
  const tokens = typed ? undefined : ids;
  const read = useLoaded<DetokenizeReply>(tokens?.length ? tokens.join(' ') : null, (signal) =>
    request('/detokenize', { signal, body: { tokens } }),
  );
  return { place: place.value, text: typed || read.value?.prompt, error: place.error };
}
