/** The answer in words: what memory did to this token, whose doing it was, what would have come without it. */
import { percent, visibleToken } from '../state/format.ts';
import type { Mixed, Mixer } from '../state/mixture.ts';
import { logRatio, movedStep } from '../state/moved.ts';

export interface VerdictProps {
  mixer: Mixer;
  mixed: Mixed;
  token: number;
  text: string;
  onLeaveOut: (document: string) => void;
}

export function Verdict({ mixer, mixed, token, text, onLeaveOut }: VerdictProps) {
  const at = mixer.candidate(token);
  const [p, pLm] = at < 0 ? [0, 0] : [mixed.p[at]!, mixed.pLm[at]!];
  const best = likeliest(mixed.pLm);
  const { document, share, voters } = blame(mixer, mixed, token);
  const step = at < 0 ? 0 : movedStep(logRatio(p, pLm));
  const did = step > 0 ? 'raised it' : step < 0 ? 'lowered it' : 'left it nearly as it was';
  const alone = mixer.raw.candidates[best]!;
  return (
    <div class="verdict">
      <p>
        {at < 0 ? (
          <>Neither the model’s likeliest tokens nor the neighbors had it.</>
        ) : (
          <>
            Memory <b class={`tok ${step > 0 ? 'up2' : step < 0 ? 'down2' : 'same'}`}>{did}</b>:{' '}
            {percent(pLm)} → <strong>{percent(p)}</strong>.
          </>
        )}{' '}
        {document === undefined ? (
          <>None of the {mixed.used} neighbors voted for it.</>
        ) : (
          <>
            {voters} of {mixed.used} neighbors voted for it; {percent(share)} of their weight is
            from <cite>{document}</cite>.
          </>
        )}{' '}
        {alone.id === token ? (
          <>Without memory it would have been the likeliest as well.</>
        ) : (
          <>
            Without memory, <q>{visibleToken(alone.text)}</q> would have been likeliest (
            {percent(mixed.pLm[best]!)}).
          </>
        )}
      </p>
      {document !== undefined && (
        <button type="button" onClick={() => onLeaveOut(document)}>
          What without <cite>{document}</cite>?
        </button>
      )}
      <span class="visually-hidden" role="status">
        {visibleToken(text)}: {percent(p)}
      </span>
    </div>
  );
}

/** The document that gave most of the vote for a token. */
function blame(mixer: Mixer, mixed: Mixed, token: number) {
  const { targets, documents, document_ids } = mixer.raw;
  const shares = new Map<number, number>();
  let [voters, all] = [0, 0];
  for (let i = 0; i < targets.length; i++) {
    if (targets[i] !== token || mixed.weights[i] === 0) continue;
    voters++;
    all += mixed.weights[i]!;
    shares.set(documents[i]!, (shares.get(documents[i]!) ?? 0) + mixed.weights[i]!);
  }
  const [most] = [...shares].sort((a, b) => b[1] - a[1]);
  return {
    document: most && document_ids[most[0]],
    share: most && all > 0 ? most[1] / all : 0,
    voters,
  };
}

function likeliest(p: Float64Array): number {
  let best = 0;
  for (let c = 1; c < p.length; c++) if (p[c]! > p[best]!) best = c;
  return best;
}
