/** The text in figures, or how far scoring has come. */
import { count, percent, short } from '../state/format.ts';
import type { Scoring } from './use-score.ts';

export function Figures({ scoring: { summary, tokens, total } }: { scoring: Scoring }) {
  if (!summary) {
    return (
      <div class="figures">
        <progress aria-label="Scoring" value={total ? tokens.length / total : undefined} max={1} />
        <p class="soft">
          {count(tokens.length)} of {total === undefined ? 'the' : count(total)} tokens
        </p>
      </div>
    );
  }
  const { lm, knnlm, helped, hurt } = summary;
  const change = (knnlm.perplexity ?? Number.POSITIVE_INFINITY) / lm.perplexity! - 1;
  return (
    <dl class="figures">
      <div>
        <dt>Perplexity with memory</dt>
        <dd class="large">{short(knnlm.perplexity)}</dd>
        <dd class="soft">
          {change <= 0
            ? `${percent(-change)} lower than alone`
            : `${percent(change)} higher than alone`}
        </dd>
      </div>
      <div>
        <dt>The model alone</dt>
        <dd class="large">{short(lm.perplexity)}</dd>
        <dd class="soft">
          {short(lm.bits_per_byte)} bits per byte, with memory {short(knnlm.bits_per_byte)}
        </dd>
      </div>
      <div>
        <dt>Tokens</dt>
        <dd class="large">{count(summary.tokens)}</dd>
        <dd class="soft">
          {percent(helped)} helped, {percent(hurt)} hurt
        </dd>
      </div>
    </dl>
  );
}
