/** The likeliest tokens under the model, the neighbors and the mixture, side by side. */
import { percent, visibleToken } from '../state/format.ts';
import type { Mixed, Mixer } from '../state/mixture.ts';

const SHOWN = 7;

export interface CandidatesProps {
  mixer: Mixer;
  mixed: Mixed;
  /** The token that stands in the text. */
  token: number;
  picked: number | undefined;
  onPick: (id: number | undefined) => void;
  onContinue?: (id: number) => void;
}

export function Candidates({ mixer, mixed, token, picked, onPick, onContinue }: CandidatesProps) {
  const rows = shownRows(mixer, mixed, token, picked);
  const most = Math.max(...rows.flatMap((c) => [mixed.p[c]!, mixed.pKnn[c]!, mixed.pLm[c]!]));
  const other = picked !== undefined && picked !== token ? picked : undefined;
  return (
    <section aria-label="Candidates" class="candidates">
      <table>
        <thead>
          <tr>
            <th scope="col">Candidate</th>
            <th scope="col">Model alone</th>
            <th scope="col">Neighbors</th>
            <th scope="col">Mixture</th>
          </tr>
        </thead>
        <tbody>
          {rows.map((c) => {
            const { id, text } = mixer.raw.candidates[c]!;
            return (
              <tr
                key={id}
                class={`${id === token ? 'is-token' : ''}${id === picked ? ' is-picked' : ''}`}
              >
                <th scope="row">
                  <button
                    type="button"
                    class="candidate"
                    aria-pressed={id === picked}
                    onClick={() => onPick(id === picked ? undefined : id)}
                  >
                    {visibleToken(text)}
                  </button>
                </th>
                <Cell value={mixed.pLm[c]!} most={most} kind="lm" />
                <Cell value={mixed.pKnn[c]!} most={most} kind="knn" />
                <Cell value={mixed.p[c]!} most={most} kind="mixture" />
              </tr>
            );
          })}
        </tbody>
      </table>
      {onContinue && other !== undefined && (
        <button type="button" class="primary" onClick={() => onContinue(other)}>
          Go on with “{visibleToken(mixer.raw.candidates[mixer.candidate(other)]!.text)}” instead
        </button>
      )}
    </section>
  );
}

function Cell({ value, most, kind }: { value: number; most: number; kind: string }) {
  return (
    <td class={kind}>
      <span>{percent(value)}</span>
      <i aria-hidden="true" style={{ transform: `scaleX(${most > 0 ? value / most : 0})` }} />
    </td>
  );
}

/** The likeliest of the mixture; the token itself, the picked one and the model's own favorite are never missing. */
function shownRows(
  mixer: Mixer,
  mixed: Mixed,
  token: number,
  picked: number | undefined,
): number[] {
  const rows = [...mixed.order.subarray(0, SHOWN)];
  let favorite = 0;
  for (let c = 1; c < mixed.pLm.length; c++) if (mixed.pLm[c]! > mixed.pLm[favorite]!) favorite = c;
  for (const c of [favorite, mixer.candidate(token), mixer.candidate(picked ?? -1)]) {
    if (c >= 0 && !rows.includes(c)) rows.push(c);
  }
  return rows.sort((a, b) => mixed.p[b]! - mixed.p[a]!);
}
