/** The groups of the map by color; one that is picked stands out. */
import type { MapGroups } from './map-groups.ts';

/** Characters of the query's end that are shown. */
const SHOWN = 60;

export interface MapLegendProps {
  groups: MapGroups;
  lit: number | undefined;
  query: string | undefined;
  onLit: (group: number | undefined) => void;
}

export function MapLegend({ groups, lit, query, onLit }: MapLegendProps) {
  return (
    <ul class="map-legend">
      {query !== undefined && (
        <li class="query">
          <i class="cross" aria-hidden="true" />
          <span>“{query.length > SHOWN ? `… ${query.slice(-SHOWN).trimStart()}` : query}”</span>
        </li>
      )}
      {groups.names.map((name, group) => (
        <li key={name}>
          <button
            type="button"
            class="group"
            aria-pressed={lit === group}
            onClick={() => onLit(lit === group ? undefined : group)}
          >
            <i class={`dot mark${group}`} aria-hidden="true" />
            <span>{name}</span>
          </button>
        </li>
      ))}
      {groups.hasOthers && (
        <li class="group">
          <i class="dot mark-rest" aria-hidden="true" />
          all others
        </li>
      )}
    </ul>
  );
}
