/** Writing a completion, streamed, and reading one again from its token ids. */
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import type {
  CompletionReply,
  CompletionRequest,
  InfoReply,
  KnnToken,
} from '../../../src/server/wire.ts';
import { AROUND } from '../parts/passage.tsx';
import { events, request } from '../state/api.ts';
import type { Navigation } from '../state/hooks.ts';
import { fromFragment } from '../state/inspection.ts';
import { retrievalFields } from '../state/settings.ts';

/** Neighbors told with each token: enough to find its sources. */
const TOLD = 24;
/** Before settings that are still moving are asked for again. */
const SETTLE_MS = 350;

export interface Sampling {
  /** Tokens at most. */
  length: number;
  isVaried: boolean;
}

/** Greedy texts of small models go round in circles without a penalty. */
export const samplingFields = ({ length, isVaried }: Sampling) => ({
  max_tokens: length,
  ...(isVaried ? { temperature: 0.8, top_p: 0.95 } : { temperature: 0, repetition_penalty: 1.1 }),
});

export interface Completion {
  tokens: readonly KnnToken[];
  /** How many of them were the prompt. */
  prompted: number;
  phase: 'idle' | 'writing' | 'reading';
  error?: Error;
  write: (prompt: string | readonly number[], sampling: Sampling) => void;
  stop: () => void;
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
  { inspection, go }: Pick<Navigation, 'inspection' | 'go'>,
): Completion {
  const [written, setWritten] = useState<Written>(
    inspection.ids?.length ? { ...NOTHING, phase: 'reading' } : NOTHING,
  );
  const abort = useRef<AbortController>(undefined);
  /** What the tokens shown were read for, so that a text just written is not read again. */
  const readFor = useRef({ key: '', text: '' });
  const { ids } = inspection;
  const fields = retrievalFields(info, inspection);
  const text = ids?.join(' ') ?? '';
  const key = text && JSON.stringify([text, inspection.prompted, fields]);

  const write = useCallback(
    (prompt: string | readonly number[], sampling: Sampling) => {
      abort.current?.abort();
      const own = (abort.current = new AbortController());
      // A text written on keeps its beginning, and what of it was the prompt.
      const kept = typeof prompt === 'string' ? undefined : (inspection.prompted ?? prompt.length);
      const body = completionRequest(prompt, sampling, fields);
      const before = typeof prompt === 'string' ? [] : written.tokens.slice(0, prompt.length);
      void stream(body, { kept, before }, own.signal, setWritten).then((done) => {
        if (!done || abort.current !== own) return;
        const all = done.tokens.map(({ id }) => id);
        const text = all.join(' ');
        readFor.current = { text, key: JSON.stringify([text, done.prompted, fields]) };
        const { prompt: _, at: __, ...rest } = fromFragment(location.hash);
        go({ ...rest, ids: all, prompted: done.prompted });
      });
    },
    [inspection.prompted, JSON.stringify(fields), go, written.tokens],
  );

  useEffect(() => {
    if (key === readFor.current.key) return;
    // Only settings move in small steps.
    const settleMs = text === readFor.current.text ? SETTLE_MS : 0;
    readFor.current = { text, key };
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
    }, settleMs);
    return () => clearTimeout(timer);
  }, [key]);
  useEffect(
    () => () => {
      abort.current?.abort();
      // What was under way is for a view that is no longer open.
      abort.current = undefined;
    },
    [],
  );

  return {
    ...written,
    write,
    stop: () => abort.current?.abort(),
  };
}

function completionRequest(
  prompt: string | readonly number[],
  sampling: Sampling,
  fields: object,
): CompletionRequest {
  return {
    prompt: typeof prompt === 'string' ? prompt : [...prompt],
    ...samplingFields(sampling),
    echo: true,
    stream: true,
    knn: { ...fields, include_neighbors: TOLD, around: AROUND },
  };
}

/**
 * @param known of a text that is written on: how many of its tokens were the prompt, and its tokens, which stay until
 * they are told anew
 * @returns what was written, also when it was stopped; undefined after an error, which is shown
 */
async function stream(
  body: CompletionRequest,
  { kept, before }: { kept: number | undefined; before: readonly KnnToken[] },
  signal: AbortSignal,
  show: (written: Written) => void,
): Promise<Written | undefined> {
  const tokens: KnnToken[] = [];
  const now = (phase: Completion['phase']): Written => ({
    tokens: [...tokens, ...before.slice(tokens.length)],
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
  return now('idle').tokens.length > 0 ? now('idle') : undefined;
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
