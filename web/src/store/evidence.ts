/** What tuning measured, out of what the store keeps of it. */

export interface CurvePoint {
  at: number;
  perplexity: number;
}

export interface Evidence {
  /** Perplexities. */
  lm: number;
  knnlm: number;
  gate?: number;
  tokens?: number;
  /** Perplexity along one setting, without the gate. */
  curves: Partial<Record<'lambda' | 'temperature' | 'k', CurvePoint[]>>;
}

/** undefined when nothing was measured. Stores of other versions may keep less or other things. */
export function readEvidence(evidence: Record<string, unknown> | null): Evidence | undefined {
  const perplexity = record(evidence?.perplexity);
  const [lm, knnlm] = [perplexity?.lm, perplexity?.knnlm];
  if (typeof lm !== 'number' || typeof knnlm !== 'number') return undefined;
  const gate = record(evidence?.gate);
  const gated = perplexity?.gate ?? gate?.perplexity;
  const curves = record(evidence?.curves);
  return {
    lm,
    knnlm,
    ...(typeof gated === 'number' && { gate: gated }),
    ...(typeof evidence?.tokens === 'number' && { tokens: evidence.tokens }),
    curves: {
      lambda: pointsOf(curves?.lambda),
      temperature: pointsOf(curves?.temperature),
      k: pointsOf(curves?.k),
    },
  };
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null
    ? (value as Record<string, unknown>)
    : undefined;
}

/** Pairs of a setting and its perplexity. */
function pointsOf(value: unknown): CurvePoint[] | undefined {
  if (!Array.isArray(value)) return undefined;
  const points = value.flatMap((pair) =>
    Array.isArray(pair) && Number.isFinite(pair[0]) && Number.isFinite(pair[1])
      ? [{ at: pair[0] as number, perplexity: pair[1] as number }]
      : [],
  );
  return points.length > 1 ? points : undefined;
}
