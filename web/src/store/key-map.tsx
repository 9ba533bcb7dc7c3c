/** Sampled keys on the plane of their first two principal components, with their contexts, and a query's place. */
import { useMemo, useState } from 'preact/hooks';
import type { MapReply, StoreReply } from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { count, percent } from '../state/format.ts';
import { useLoaded } from '../state/hooks.ts';
import { MapCanvas } from './map-canvas.tsx';
import { topGroups } from './map-groups.ts';
import { MapLegend } from './map-legend.tsx';
import { MapPoint } from './map-point.tsx';
import { SAMPLE, useQueryPlace } from './use-query-place.ts';

export function KeyMap({ store, inspection, amend, go }: ViewProps & { store: StoreReply }) {
  const color = inspection.color ?? 'document';
  const map = useLoaded<MapReply>(`${store.name} ${store.entries} ${store.deleted}`, (signal) =>
    request(`/v1/knn/map?${new URLSearchParams({ store: store.name, sample: String(SAMPLE) })}`, {
      signal,
    }),
  );
  const query = useQueryPlace(store.name, inspection, map.value !== undefined);
  const [point, setPoint] = useState<number>();
  const [lit, setLit] = useState<number>();
  const groups = useMemo(() => map.value && topGroups(map.value, color), [map.value, color]);
  return (
    <section class="card map" aria-label="Map of keys">
      <h2 class="label">Map of keys: contexts that lead to alike states lie close together</h2>
      <div class="row">
        <label class="inline">
          Color by
          <select
            value={color}
            onChange={(event) => {
              setLit(undefined);
              amend({ color: event.currentTarget.value as 'document' | 'target' });
            }}
          >
            <option value="document">document</option>
            <option value="target">next token</option>
          </select>
        </label>
        <label class="inline grow">
          <span>Place a context</span>
          <input
            value={inspection.context ?? ''}
            placeholder={query.text ?? 'The kidneys filter'}
            onInput={(event) =>
              amend({ context: event.currentTarget.value || undefined, ids: undefined })
            }
          />
        </label>
      </div>
      {map.error && <ErrorNote error={map.error} onRetry={map.retry} />}
      {!map.value && map.isLoading && (
        <div class="map-space">
          <Waiting what={`Reading ${count(SAMPLE)} keys`} isSlow={map.isSlow} />
        </div>
      )}
      {map.value && map.value.x.length === 0 && (
        <p class="state">The store has no keys yet: add a document and its contexts appear here.</p>
      )}
      {map.value && groups && map.value.x.length > 0 && (
        <>
          <MapCanvas
            map={map.value}
            groups={groups}
            query={query.place}
            point={point}
            lit={lit}
            onPoint={setPoint}
          />
          <div class="map-side">
            <MapPoint
              map={map.value}
              point={point}
              onOpen={(document, position) =>
                go({ view: 'documents', document, store: store.name, position })
              }
            />
            <MapLegend groups={groups} lit={lit} query={query.text} onLit={setLit} />
            {query.error && <ErrorNote error={query.error} />}
            <p class="soft">
              {count(map.value.x.length)} of {count(store.entries)} keys on their first two
              principal components, which hold{' '}
              {percent(map.value.variance[0] + map.value.variance[1])} of the variance.
            </p>
          </div>
        </>
      )}
    </section>
  );
}
