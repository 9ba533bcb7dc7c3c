/** Sampled keys on the plane of their first two principal components, with their contexts, and a query's place. */
import { useMemo, useState } from 'preact/hooks';
import type {
  DocumentTextReply,
  MapReply,
  ProjectReply,
  StoreReply,
} from '../../../src/server/wire.ts';
import type { ViewProps } from '../app.tsx';
import { Passage } from '../parts/passage.tsx';
import { ErrorNote, Waiting } from '../parts/states.tsx';
import { request } from '../state/api.ts';
import { count, percent, visibleToken } from '../state/format.ts';
import { useLoaded, useSettled } from '../state/hooks.ts';
import { MapCanvas } from './map-canvas.tsx';
import { topGroups } from './map-groups.ts';

const SAMPLE = 2000;
/** Tokens of text around a point. */
const AROUND = 14;

export function KeyMap({ store, inspection, amend, go }: ViewProps & { store: StoreReply }) {
  const color = inspection.color ?? 'document';
  const context = inspection.context ?? '';
  const map = useLoaded<MapReply>(`${store.name} ${store.entries}`, (signal) =>
    request(`/v1/knn/map?${new URLSearchParams({ store: store.name, sample: String(SAMPLE) })}`, {
      signal,
    }),
  );
  const asked = useSettled(context.trim(), 400);
  const query = useLoaded<ProjectReply>(
    asked && map.value ? `${store.name}\n${asked}` : null,
    (signal) =>
      request('/v1/knn/map/project', {
        signal,
        body: { context: asked, store: store.name, sample: SAMPLE },
      }),
  );
  const [point, setPoint] = useState<number>();
  const groups = useMemo(() => map.value && topGroups(map.value, color), [map.value, color]);
  return (
    <section class="card map" aria-label="Map of keys">
      <h2 class="label">Map of keys</h2>
      <div class="row">
        <label class="inline">
          Color by
          <select
            value={color}
            onChange={(event) =>
              amend({ color: event.currentTarget.value as 'document' | 'target' })
            }
          >
            <option value="document">document</option>
            <option value="target">next token</option>
          </select>
        </label>
        <label class="inline grow">
          <span>Place a context</span>
          <input
            value={context}
            placeholder="The kidneys filter"
            onInput={(event) => amend({ context: event.currentTarget.value || undefined })}
          />
        </label>
      </div>
      {map.error && <ErrorNote error={map.error} onRetry={map.retry} />}
      {!map.value && map.isLoading && (
        <div class="map-space">
          <Waiting what={`Reading ${count(SAMPLE)} keys`} isSlow={map.isSlow} />
        </div>
      )}
      {map.value && groups && map.value.x.length === 0 && (
        <p class="state">The store has no keys yet: add a document and its contexts appear here.</p>
      )}
      {map.value && groups && map.value.x.length > 0 && (
        <>
          <MapCanvas
            map={map.value}
            groups={groups}
            query={query.value}
            point={point}
            onPoint={setPoint}
          />
          <div class="map-side">
            <ul class="map-legend">
              {groups.names.map((name, group) => (
                <li key={name}>
                  <i class={`dot mark${group}`} aria-hidden="true" />
                  {name}
                </li>
              ))}
              <li>
                <i class="dot mark-rest" aria-hidden="true" />
                all others
              </li>
              {query.value && (
                <li>
                  <i class="cross" aria-hidden="true">
                    ✛
                  </i>
                  “{asked}”
                </li>
              )}
            </ul>
            <PointText
              map={map.value}
              point={point}
              onOpen={(document, position) =>
                go({ view: 'documents', document, store: store.name, position })
              }
            />
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

interface PointTextProps {
  map: MapReply;
  point: number | undefined;
  onOpen: (document: string, position: number) => void;
}

/** The context of the point that is looked at. */
function PointText({ map, point, onOpen }: PointTextProps) {
  const settled = useSettled(point, 80);
  const text = useLoaded(settled === undefined ? null : `${map.store} ${settled}`, (signal) =>
    readPlace(map, settled!, signal),
  );
  if (point === undefined) {
    return <p class="soft">Point at a key, or go through them with the arrow keys, to read it.</p>;
  }
  const document = map.document_ids[map.documents[point]!]!;
  const position = map.positions[point]!;
  const isHere = text.value?.point === point;
  return (
    <div class="map-point" aria-live="polite">
      <button type="button" class="title" onClick={() => onOpen(document, position)}>
        {document}
      </button>
      {isHere ? (
        <Passage neighbor={text.value!} />
      ) : (
        <p class="passage">… {visibleToken(map.targets[point]!)} …</p>
      )}
      <p class="meta">token {count(position + 1)}</p>
    </div>
  );
}

async function readPlace(map: MapReply, point: number, signal: AbortSignal) {
  const position = map.positions[point]!;
  const id = map.document_ids[map.documents[point]!]!;
  const fields = new URLSearchParams({
    store: map.store,
    position: String(position),
    around: String(AROUND),
  });
  const reply = await request<DocumentTextReply>(
    `/v1/knn/documents/${encodeURIComponent(id)}?${fields}`,
    { signal },
  );
  const at = position - reply.from;
  return {
    point,
    before: reply.pieces.slice(0, at).join(''),
    target: reply.pieces[at] ?? '',
    after: reply.pieces.slice(at + 1).join(''),
  };
}
