/** Writing a completion, streamed, and reading one again from its token ids. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type {
  CompletionReply,
  CompletionRequest,
  InfoReply,
  KnnToken,
} from '../../../src/server/wire.ts';
import { events, request } from '../state/api.ts';
import type { Inspection } from '../state/inspection.ts';
import { retrievalFields } from '../state/settings.ts';

/** Neighbors told with each token: enough to find its sources. */
const TOLD = 24;
/** Tokens of text around each. */
const AROUND = 14;
/** Before settings that are still moving are asked for again. */
const SETTLE_MS = 350;

export interface Sampling {
  length: number;
  isVaried: boolean;
}

export interface Completion {
  tokens: readonly KnnToken[];
  /** How many of them were the prompt. */
  prompted: number;
  phase: 'idle' | 'writing' | 'reading';
  error?: Error;
  write: (prompt: string | readonly number[], sampling: Sampling) => void;
  stop: () => void;
  clear: () => void;
}

interface Written {
  tokens: readonly KnnToken[];
  prompted: number;
  phase: Completion['phase'];
  error?: Error;
}

const NOTHING: Written = { tokens: [], prompted: 0, phase: 'idle' };

export function useCompletion(
  info: InfoReply,
  inspection: Inspection,
  amend: (part: Partial<Inspection>) => void,
): Completion {
  const [written, setWritten] = useState<Written>(NOTHING);
  const abort = useRef<AbortController>(undefined);
  /** What the tokens shown were read for, so that a text just written is not read again. */
  const readFor = useRef('');
  const { ids } = inspection;
  const fields = retrievalFields(info, inspection);
  const key = ids?.length ? JSON.stringify([ids, inspection.prompted, fields]) : '';

  const write = useCallback(
    (prompt: string | readonly number[], sampling: Sampling) => {
      abort.current?.abort();
      const own = (abort.current = new AbortController());
      // A text written on keeps its beginning, and what of it was the prompt.
      const kept = typeof prompt === 'string' ? undefined : (inspection.prompted ?? prompt.length);
      const body = completionRequest(prompt, sampling, fields);
      void stream(body, kept, own.signal, setWritten).then((done) => {
        if (!done || abort.current !== own) return;
        const all = done.tokens.map(({ id }) => id);
        readFor.current = JSON.stringify([all, done.prompted, fields]);
        amend({ ids: all, prompted: done.prompted, prompt: undefined, at: undefined });
      });
    },
    [inspection.prompted, JSON.stringify(fields), amend],
  );

  useEffect(() => {
    if (key === readFor.current) return;
    readFor.current = key;
    abort.current?.abort();
    if (key === '') return setWritten(NOTHING);
    const own = (abort.current = new AbortController());
    setWritten((now) => ({ ...now, phase: 'reading', error: undefined }));
    const timer = setTimeout(() => {
      readAgain(ids!, inspection.prompted ?? ids!.length, fields, own.signal).then(
        (again) => !own.signal.aborted && setWritten(again),
        (error: Error) =>
          !own.signal.aborted && setWritten((now) => ({ ...now, phase: 'idle', error })),
      );
    }, SETTLE_MS);
    return () => clearTimeout(timer);
  }, [key]);
  useEffect(() => () => abort.current?.abort(), []);

  return {
    ...written,
    write,
    stop: () => abort.current?.abort(),
    clear: () => amend({ ids: undefined, prompted: undefined, at: undefined }),
  };
}

function completionRequest(
  prompt: string | readonly number[],
  { length, isVaried }: Sampling,
  fields: object,
): CompletionRequest {
  return {
    prompt: typeof prompt === 'string' ? prompt : [...prompt],
    max_tokens: length,
    temperature: isVaried ? 0.8 : 0,
    ...(isVaried ? { top_p: 0.95 } : { repetition_penalty: 1.1 }),
    echo: true,
    stream: true,
    knn: { ...fields, include_neighbors: TOLD, around: AROUND },
  };
}

/** @returns what was written, also when it was stopped; undefined after an error, which is shown */
async function stream(
  body: CompletionRequest,
  kept: number | undefined,
  signal: AbortSignal,
  show: (written: Written) => void,
): Promise<Written | undefined> {
  const tokens: KnnToken[] = [];
  const now = (phase: Completion['phase']): Written => ({
    tokens: [...tokens],
    prompted: kept ?? tokens.filter((token) => token.prompt).length,
    phase,
  });
  show(now('writing'));
  try {
    for await (const reply of events<CompletionReply>('/v1/completions', { body, signal })) {
      tokens.push(...(reply.choices[0]?.knn?.tokens ?? []).filter(({ end }) => !end));
      show(now('writing'));
    }
  } catch (error) {
    if (!signal.aborted) {
      show({ ...now('idle'), error: error as Error });
      return undefined;
    }
  }
  show(now('idle'));
  return tokens.length > 0 ? now('idle') : undefined;
}

async function readAgain(
  ids: readonly number[],
  prompted: number,
  fields: object,
  signal: AbortSignal,
): Promise<Written> {
  const body: CompletionRequest = {
    prompt: [...ids],
    max_tokens: 0,
    echo: true,
    knn: { ...fields, include_neighbors: TOLD, around: AROUND },
  };
  const reply = await request<CompletionReply>('/v1/completions', { body, signal });
  return { tokens: reply.choices[0]!.knn!.tokens, prompted, phase: 'idle' };
}
