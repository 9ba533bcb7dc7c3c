/** The documents whose passages voted for a token, by their part of its vote. */
import { percent, plural } from '../state/format.ts';
import type { Mixed, Mixer } from '../state/mixture.ts';
import { type Voter, votersOf } from '../state/voters.ts';

const SHOWN = 4;

export interface BlameProps {
  mixer: Mixer;
  mixed: Mixed;
  /** Token id whose voters are shown. */
  token: number;
  /** In words. */
  name: string;
  onOpen: (place: { document: string; store: string; position: number }) => void;
  onLeaveOut: (document: string) => void;
}

export function Blame({ mixer, mixed, token, name, onOpen, onLeaveOut }: BlameProps) {
  const voters = votersOf(mixer.raw, mixed.weights, token);
  const open = ({ nearest }: Voter): void => {
    const { raw } = mixer;
    const at = raw.documents[nearest]!;
    onOpen({
      document: raw.document_ids[at]!,
      store: raw.document_stores[at]!,
      position: raw.positions[nearest]!,
    });
  };
  return (
    <section class="blame" aria-label="Documents behind it">
      <h3 class="label">Documents that say “{name}”</h3>
      {voters.length === 0 && <p class="soft">None of those that vote here.</p>}
      <ul>
        {voters.slice(0, SHOWN).map((voter) => (
          <li key={voter.nearest}>
            <button type="button" class="title" title={voter.document} onClick={() => open(voter)}>
              {voter.document}
            </button>
            <span class="part">{percent(voter.share)}</span>
            <button
              type="button"
              class="plain"
              aria-label={`Leave out ${voter.document}`}
              onClick={() => onLeaveOut(voter.document)}
            >
              Leave out
            </button>
            <i aria-hidden="true" style={{ transform: `scaleX(${voter.share})` }} />
          </li>
        ))}
      </ul>
      {voters.length > SHOWN && (
        <p class="meta">and {plural(voters.length - SHOWN, 'other document')}</p>
      )}
    </section>
  );
}
