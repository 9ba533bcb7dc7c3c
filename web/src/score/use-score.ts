/** Scoring a text, token by token as they come. */
import { useEffect, useState } from 'preact/hooks';
import type { InfoReply, ScoredToken, ScoreEvent, ScoreSummary } from '../../../src/server/wire.ts';
import { events } from '../state/api.ts';
import type { Inspection } from '../state/inspection.ts';
import { retrievalFields } from '../state/settings.ts';

export interface Scoring {
  tokens: readonly ScoredToken[];
  /** In the whole text, as soon as the server has counted them. */
  total?: number;
  summary?: ScoreSummary;
  isRunning: boolean;
  error?: Error;
}

/** JSON has no -Infinity. */
export const logOf = (told: number | null): number => told ?? Number.NEGATIVE_INFINITY;

const NOTHING: Scoring = { tokens: [], isRunning: false };

/** Scores whenever text or settings change. An empty text scores nothing. */
export function useScore(info: InfoReply, inspection: Inspection, text: string): Scoring {
  const [scoring, setScoring] = useState<Scoring>(NOTHING);
  const fields = retrievalFields(info, inspection);
  useEffect(() => {
    if (text === '') return setScoring(NOTHING);
    const abort = new AbortController();
    void run({ ...fields, text, neighbors: 1, stream: true }, abort.signal, setScoring);
    return () => abort.abort();
  }, [text, JSON.stringify(fields)]);
  return scoring;
}

async function run(
  body: object,
  signal: AbortSignal,
  show: (scoring: Scoring) => void,
): Promise<void> {
  const scored: ScoredToken[] = [];
  let now: Scoring = { tokens: scored, isRunning: true };
  const tell = (part: Partial<Scoring>): void => {
    if (!signal.aborted) show((now = { ...now, ...part }));
  };
  tell({});
  try {
    for await (const event of events<ScoreEvent>('/v1/knn/score', { body, signal })) {
      if (event.type === 'start') tell({ total: event.tokens });
      else if (event.type === 'tokens') {
        scored.push(...event.scored);
        tell({ tokens: [...scored] });
      } else if (event.type === 'summary') tell({ summary: event });
    }
    tell({ isRunning: false });
  } catch (error) {
    tell({ isRunning: false, error: error as Error });
  }
}
