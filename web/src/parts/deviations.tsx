/** What differs from the store's own settings, each with a way back. */
import type { ComponentChildren } from 'preact';
import type { InfoReply } from '../../../src/server/wire.ts';
import { short } from '../state/format.ts';
import type { Navigation } from '../state/hooks.ts';
import type { Inspection } from '../state/inspection.ts';
import { isChanged } from '../state/settings.ts';

export interface DeviationsProps extends Pick<Navigation, 'inspection' | 'amend'> {
  info: InfoReply;
  /** Opens a document, where it can be removed for good. */
  onOpen?: (document: string) => void;
}

export function Deviations({ info, inspection, amend, onOpen }: DeviationsProps) {
  const { exclude = [] } = inspection;
  const settings = settingsChips(info, inspection);
  if (settings.length === 0 && exclude.length === 0) return null;
  return (
    <div class="deviations">
      <h3 class="label">Not as the store has it</h3>
      {settings.map(({ shown, back }) => (
        <Chip key={shown} label={`Undo ${shown}`} onClick={() => amend(back)}>
          {shown}
        </Chip>
      ))}
      {exclude.map((document) => (
        <Chip
          key={document}
          label={`Bring back ${document}`}
          onClick={() => amend({ exclude: exclude.filter((name) => name !== document) })}
        >
          without <cite>{document}</cite>
        </Chip>
      ))}
      {onOpen && exclude.length > 0 && (
        <button type="button" class="plain" onClick={() => onOpen(exclude.at(-1)!)}>
          Open it, to remove it for good
        </button>
      )}
    </div>
  );
}

interface ChipProps {
  label: string;
  onClick: () => void;
  children: ComponentChildren;
}

function Chip({ label, onClick, children }: ChipProps) {
  return (
    <button type="button" class="chip" onClick={onClick} aria-label={label}>
      <span>{children}</span> <span aria-hidden="true">×</span>
    </button>
  );
}

/** Each goes back by itself. */
function settingsChips(
  info: InfoReply,
  inspection: Inspection,
): { shown: string; back: Partial<Inspection> }[] {
  const { k, lambda, temperature, gate } = inspection;
  const chips: { shown: string; back: Partial<Inspection> }[] = [];
  if (lambda !== undefined)
    chips.push({ shown: `λ ${short(lambda)}`, back: { lambda: undefined } });
  if (temperature !== undefined) {
    chips.push({ shown: `T ${short(temperature)}`, back: { temperature: undefined } });
  }
  if (k !== undefined) chips.push({ shown: `k ${k}`, back: { k: undefined } });
  if (info.stores[0]!.settings.gate && gate === false && !isChanged(inspection)) {
    chips.push({ shown: 'no gate', back: { gate: undefined } });
  }
  return chips;
}
