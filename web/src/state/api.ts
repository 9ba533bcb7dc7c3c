/** Requests to the server that served the page, and its streams of events. */
import type { ErrorReply } from '../../../src/server/wire.ts';

const KEY_NAME = 'knnlm-api-key';
/** Told when the server wants a key. */
export const UNAUTHORIZED = 'knnlm-unauthorized';

export class RequestFailed extends Error {
  readonly status: number;
  /** Of the server's error, such as `document_exists`. */
  readonly code: string | null;

  constructor(message: string, status: number, code: string | null = null) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** Kept for this tab only. */
export function setApiKey(key: string): void {
  sessionStorage.setItem(KEY_NAME, key);
}

export interface RequestOptions {
  method?: 'GET' | 'POST' | 'DELETE';
  body?: unknown;
  signal?: AbortSignal;
}

export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const response = await send(path, options);
  return (await response.json()) as T;
}

/** Every event until `[DONE]`. An error inside the stream is thrown. */
export async function* events<T>(path: string, options: RequestOptions): AsyncGenerator<T> {
  const response = await send(path, options);
  let rest = '';
  const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      const lines = (rest + part.value).split('\n');
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith('data:')) continue;
        const data = line.slice(5).trim();
        if (data === '[DONE]') return;
        const event = JSON.parse(data) as T & Partial<ErrorReply>;
        if (event.error) throw new RequestFailed(event.error.message, 500, event.error.code);
        yield event as Awaited<T>;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
  throw new RequestFailed('The answer broke off before its end. Try again.', 0);
}

async function send(path: string, { method, body, signal }: RequestOptions): Promise<Response> {
  const key = sessionStorage.getItem(KEY_NAME);
  const response = await fetch(path, {
    method: method ?? (body === undefined ? 'GET' : 'POST'),
    headers: {
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...(key && { authorization: `Bearer ${key}` }),
    },
    body: body === undefined ? undefined : JSON.stringify(body),
    signal,
  }).catch((error: unknown) => {
    if (signal?.aborted) throw error;
    throw new RequestFailed('The server cannot be reached. Is “knnlm serve” still running?', 0);
  });
  if (response.ok) return response;
  if (response.status === 401) dispatchEvent(new Event(UNAUTHORIZED));
  const reply = (await response.json().catch(() => undefined)) as ErrorReply | undefined;
  throw new RequestFailed(
    reply?.error.message ?? `The server answered with ${response.status}.`,
    response.status,
    reply?.error.code,
  );
}
