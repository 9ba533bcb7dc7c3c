/** The neighbors that voted, nearest first, those of one passage together. */
import { useCallback, useMemo } from 'preact/hooks';
import type { SearchReply } from '../../../src/server/wire.ts';
import { Passage } from '../parts/passage.tsx';
import { VirtualList } from '../parts/virtual-list.tsx';
import { count, percent, plural, short, visibleToken } from '../state/format.ts';
import type { Mixed, Mixer } from '../state/mixture.ts';
import { placesOf } from '../state/places.ts';

/** Pixels; the style of a row fits into it. */
const ROW = 112;

export interface NeighborsProps {
  reply: SearchReply;
  mixer: Mixer;
  mixed: Mixed;
  /** Only those that voted for this candidate are shown. */
  picked: number | undefined;
  onClearPicked: () => void;
  /** Asks for the text of all neighbors. */
  onMore: () => void;
  onOpen: (place: { document: string; store: string; position: number }) => void;
  onLeaveOut: (document: string) => void;
}

export function Neighbors({ reply, mixer, mixed, picked, ...on }: NeighborsProps) {
  const { raw } = mixer;
  const { used } = mixed;
  const isUsed = mixed.weights;
  const usedKey = used + (isUsed[0] === 0 ? 0.5 : 0);
  const places = useMemo(
    () =>
      placesOf(raw, (i) => isUsed[i]! > 0 && (picked === undefined || raw.targets[i] === picked)),
    [raw, picked, usedKey],
  );
  const heaviest = mixed.weights.reduce((most, weight) => Math.max(most, weight), 1e-9);
  const last = reply.neighbors.length;
  const more = useCallback(
    (_from: number, to: number) => {
      const isMissing = places.slice(0, to).some(({ neighbors }) => neighbors[0]! >= last);
      if (isMissing && last < raw.entries.length) on.onMore();
    },
    [places, last, raw],
  );
  const name = picked === undefined ? '' : visibleToken(textOf(mixer, picked));
  return (
    <section class="neighbors" aria-label="Neighbors">
      <h3 class="label">
        {picked === undefined
          ? `The ${plural(used, 'neighbor')}, in ${plural(places.length, 'place')}`
          : `${plural(places.length, 'place')} that ${places.length === 1 ? 'says' : 'say'} “${name}”`}
        {picked !== undefined && (
          <button type="button" class="plain" onClick={on.onClearPicked}>
            Show all
          </button>
        )}
      </h3>
      {places.length === 0 ? (
        <p class="soft">
          {used === 0 ? 'No neighbor is left: this is the model alone.' : 'No neighbor says so.'}
        </p>
      ) : (
        <VirtualList
          label="Neighbors, nearest first"
          count={places.length}
          rowHeight={ROW}
          scroller=".panel"
          onRange={more}
          row={(index) => {
            const { neighbors } = places[index]!;
            const first = neighbors[0]!;
            const document = raw.document_ids[raw.documents[first]!]!;
            const store = raw.document_stores[raw.documents[first]!]!;
            const weight = neighbors.reduce((sum, i) => sum + mixed.weights[i]!, 0);
            const told = reply.neighbors[first];
            return (
              <div class="neighbor">
                <p class="neighbor-head">
                  <button
                    type="button"
                    class="title"
                    title={document}
                    onClick={() => on.onOpen({ document, store, position: raw.positions[first]! })}
                  >
                    {document}
                  </button>
                  <span class="weight" title="Share of the vote">
                    {percent(weight)}
                    <i
                      aria-hidden="true"
                      style={{ transform: `scaleX(${Math.min(1, weight / heaviest)})` }}
                    />
                  </span>
                </p>
                {told ? (
                  <Passage neighbor={told} />
                ) : (
                  <p class="passage">
                    … <mark>{visibleToken(textOf(mixer, raw.targets[first]!))}</mark> …
                  </p>
                )}
                <p class="meta">
                  <span>
                    token {count(raw.positions[first]! + 1)}, distance{' '}
                    {short(raw.distances[first]!)}
                    {neighbors.length > 1 && `, ${neighbors.length} neighbors here`}
                  </span>
                  <button
                    type="button"
                    class="plain"
                    aria-label={`Leave out ${document}`}
                    onClick={() => on.onLeaveOut(document)}
                  >
                    Leave out
                  </button>
                </p>
              </div>
            );
          }}
        />
      )}
    </section>
  );
}

function textOf(mixer: Mixer, id: number): string {
  return mixer.raw.candidates[mixer.candidate(id)]?.text ?? `#${id}`;
}
