/** The context of the key that is looked at. */
import type { DocumentTextReply, MapReply } from '../../../src/server/wire.ts';
import { AROUND, Passage, type PassageText } from '../parts/passage.tsx';
import { request } from '../state/api.ts';
import { count, visibleToken } from '../state/format.ts';
import { useLoaded, useSettled } from '../state/hooks.ts';

export interface MapPointProps {
  map: MapReply;
  point: number | undefined;
  onOpen: (document: string, position: number) => void;
}

export function MapPoint({ map, point, onOpen }: MapPointProps) {
  const settled = useSettled(point, 80);
  const text = useLoaded(settled === undefined ? null : `${map.store} ${settled}`, (signal) =>
    readPlace(map, settled!, signal),
  );
  if (point === undefined) {
    return (
      <p class="map-point soft">
        Point at a key, or go through them with the arrow keys, to read the context it stands for.
      </p>
    );
  }
  const document = map.document_ids[map.documents[point]!]!;
  const position = map.positions[point]!;
  return (
    <div class="map-point" aria-live="polite">
      <button type="button" class="title" onClick={() => onOpen(document, position)}>
        {document}
      </button>
      {text.value?.point === point ? (
        <Passage neighbor={text.value} />
      ) : (
        <p class="passage">
          … <mark>{visibleToken(map.targets[point]!)}</mark> …
        </p>
      )}
      <p class="meta">token {count(position + 1)}</p>
    </div>
  );
}

async function readPlace(
  map: MapReply,
  point: number,
  signal: AbortSignal,
): Promise<PassageText & { point: number }> {
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
    position,
    before: reply.pieces.slice(0, at).join(''),
    target: reply.pieces[at] ?? '',
    after: reply.pieces.slice(at + 1).join(''),
  };
}
