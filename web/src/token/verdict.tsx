/** The answer in words: what memory did to this token, and what would have come without it. */
import { count, percent, visibleToken } from '../state/format.ts';
import type { Mixed, Mixer } from '../state/mixture.ts';
import { logRatio, movedInWords, movedStep } from '../state/moved.ts';

export interface VerdictProps {
  mixer: Mixer;
  mixed: Mixed;
  token: number;
}

export function Verdict({ mixer, mixed, token }: VerdictProps) {
  const at = mixer.candidate(token);
  if (at < 0) {
    return (
      <p class="verdict">
        Neither the model’s likeliest tokens nor any passage in memory had it.{' '}
        {aloneInWords(mixer, mixed, token)}
      </p>
    );
  }
  const [p, pLm] = [mixed.p[at]!, mixed.pLm[at]!];
  const moved = logRatio(p, pLm);
  const step = movedStep(moved);
  const kind = step > 0 ? 'up2' : step < 0 ? 'down2' : 'same';
  const words = movedInWords(moved);
  return (
    <div class="verdict">
      <p class="moved">
        <span>{words[0]!.toUpperCase() + words.slice(1)}</span>
        <span class="change">
          {percent(pLm)} <span aria-hidden="true">→</span>
          <span class="visually-hidden"> to </span> <b class={`tok ink ${kind}`}>{percent(p)}</b>
        </span>
      </p>
      <p>
        {votersInWords(mixer, mixed, token)} {aloneInWords(mixer, mixed, token)}
      </p>
    </div>
  );
}

function votersInWords({ raw }: Mixer, { weights, used }: Mixed, token: number): string {
  let voters = 0;
  for (let i = 0; i < raw.targets.length; i++) {
    if (raw.targets[i] === token && weights[i]! > 0) voters++;
  }
  if (used === 0) return 'No passage votes: this is the model alone.';
  const all = `the ${count(used)} nearest passages in memory`;
  if (voters === 0) return `None of ${all} go on with it.`;
  return `${count(voters)} of ${all} ${voters === 1 ? 'goes' : 'go'} on with it.`;
}

function aloneInWords({ raw }: Mixer, { pLm, p, order }: Mixed, token: number) {
  let best = 0;
  for (let c = 1; c < pLm.length; c++) if (pLm[c]! > pLm[best]!) best = c;
  const [alone, together] = [raw.candidates[best]!, raw.candidates[order[0]!]!];
  const named = ({ text }: { text: string }) => <q>{visibleToken(text)}</q>;
  const isOther = together.id !== token && together.id !== alone.id;
  return (
    <>
      {alone.id === token ? (
        'Without memory it would be the likeliest as well'
      ) : (
        <>
          Without memory, {named(alone)} would be likeliest, at {percent(pLm[best]!)}
        </>
      )}
      {isOther && (
        <>
          ; with it {named(together)} is, at {percent(p[order[0]!]!)}
        </>
      )}
      .
    </>
  );
}
