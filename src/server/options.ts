/** How a server is set up, with what holds unless told otherwise. */
import { KnnLMError } from '../errors.ts';

export interface ServerOptions {
  /** Clients must send `Authorization: Bearer` and this. Default: none is asked for. */
  apiKey?: string;
  /** Origins of other pages that may read replies, such as `https://app.example`. Default: none. */
  cors?: readonly string[];
  /**
   * Names by which the server may be called, without port; another name in `Host` is how a page elsewhere would reach a
   * server on this machine (DNS rebinding). `any` where a key is asked for or something in front checks. Default: `localhost`,
   * `127.0.0.1` and `[::1]`, which `serve` hears besides those given.
   */
  hosts?: readonly string[] | 'any';
  /** Texts generated or scored at the same time. More share each step of the model and keep more caches. Default 16. */
  concurrency?: number;
  /** Requests that may wait; half of them of one client. Beyond that they are told to try again. Default 256. */
  queue?: number;
  /** Longest time a request may take, waiting included, in milliseconds. Default 600,000. */
  timeoutMs?: number;
  /** Longest time in which a client must take what it was sent, in milliseconds. Default 60,000. */
  stallMs?: number;
  /** Largest document that can be added, as a request's body in bytes; other bodies have a quarter of it. Default 16 MiB. */
  bodyBytes?: number;
  /** Longest prompt. Default 32,768. */
  promptTokens?: number;
  /** Longest completion. Default 16,384. */
  maxTokens?: number;
  /** Documents can be read and retrieved, not added or removed. Default false. */
  readOnly?: boolean;
  /** Serves the inspector page at `/`. Default true. */
  page?: boolean;
  /** Told of what went wrong inside, which clients are not told. */
  onError?: (error: unknown, request: { method: string; path: string; id: string }) => void;
}

export type ResolvedOptions = Required<Omit<ServerOptions, 'apiKey' | 'onError'>> &
  Pick<ServerOptions, 'apiKey' | 'onError'>;

export const LOOPBACK_HOSTS: readonly string[] = ['localhost', '127.0.0.1', '[::1]'];

/** Errors: `INVALID_ARGUMENT` with the value seen. */
export function resolveOptions(options: ServerOptions): ResolvedOptions {
  const resolved: ResolvedOptions = {
    cors: [],
    hosts: LOOPBACK_HOSTS,
    concurrency: 16,
    queue: 256,
    timeoutMs: 600_000,
    stallMs: 60_000,
    bodyBytes: 16 * 2 ** 20,
    promptTokens: 32_768,
    maxTokens: 16_384,
    readOnly: false,
    page: true,
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
  const counts = [
    'concurrency',
    'queue',
    'timeoutMs',
    'stallMs',
    'bodyBytes',
    'promptTokens',
    'maxTokens',
  ] as const;
  for (const name of counts) {
    const value = resolved[name];
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw new KnnLMError(
      'INVALID_ARGUMENT',
      `${name} must be a whole number of at least 1, not ${value}.`,
    );
  }
  if (resolved.apiKey === '') {
    throw new KnnLMError('INVALID_ARGUMENT', 'The API key is empty. Give one, or none at all.');
  }
  resolved.cors = resolved.cors.map(checkedOrigin);
  return resolved;
}

/** `https://app.example` as browsers send it. */
function checkedOrigin(given: string): string {
  const origin = URL.canParse(given) ? new URL(given).origin : 'null';
  if (origin !== 'null' && given.replace(/\/$/, '') === origin) return origin;
  throw new KnnLMError(
    'INVALID_ARGUMENT',
    `An origin is a scheme, a host and a port if need be, such as https://app.example or http://localhost:3000, not ${JSON.stringify(given)}.`,
  );
}
