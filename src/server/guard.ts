/**
 * Who may ask at all. A server on the loopback interface is within reach of every page in the user's browser, so the
 * name it is called by and the origin of the page that calls are checked before anything else.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { ResolvedOptions } from './options.ts';
import { Refusal } from './refusal.ts';

/** Errors: `Refusal` with 403 when the request came under a name that is not the server's. */
export function checkHost(url: URL, hosts: ResolvedOptions['hosts']): void {
  if (hosts === 'any' || hosts.includes(url.hostname)) return;
  throw new Refusal(
    403,
    `The server is not called ${JSON.stringify(url.hostname)} but ${hosts.join(', ')}. If it should be, start it with --allow-host ${url.hostname}.`,
    { code: 'host_not_allowed' },
  );
}

/**
 * The origin of a page elsewhere that may read the reply; undefined for the server's own page and for programs, which
 * send none. Errors: `Refusal` with 403 for any other.
 */
export function foreignOrigin(
  request: Request,
  url: URL,
  allowed: readonly string[],
): string | undefined {
  const origin = request.headers.get('origin');
  if (origin === null) {
    // Images and scripts of other pages send no origin, but browsers say where they are from.
    const isNavigation = request.headers.get('sec-fetch-mode') === 'navigate';
    if (request.headers.get('sec-fetch-site') !== 'cross-site' || isNavigation) return undefined;
  } else {
    if (allowed.includes(origin)) return origin;
    if (URL.canParse(origin) && new URL(origin).host === url.host) return undefined;
  }
  throw new Refusal(
    403,
    `Pages of ${origin ?? 'other sites'} may not use this server. To let them, start it with --cors ORIGIN.`,
    { code: 'origin_not_allowed' },
  );
}

/** Headers by which a browser lets a page elsewhere read the reply. */
export function corsHeaders(origin: string): Record<string, string> {
  return {
    'access-control-allow-origin': origin,
    'access-control-expose-headers': 'retry-after, x-request-id',
    'cross-origin-resource-policy': 'cross-origin',
    vary: 'origin',
  };
}

/** What a browser asks before it sends a page's request. */
export function preflight(request: Request, origin: string): Response {
  const headers = request.headers.get('access-control-request-headers');
  return new Response(null, {
    status: 204,
    headers: {
      ...corsHeaders(origin),
      'access-control-allow-methods': 'GET, POST, DELETE',
      'access-control-allow-headers': headers ?? 'authorization, content-type',
      'access-control-max-age': '600',
    },
  });
}

/** Compared by digests, in a time that tells nothing of the key. Errors: `Refusal` with 401. */
export function checkKey(request: Request, key: string): void {
  const given = /^Bearer +(\S+)\s*$/i.exec(request.headers.get('authorization') ?? '')?.[1];
  if (given !== undefined && timingSafeEqual(digest(given), digest(key))) return;
  throw new Refusal(
    401,
    given === undefined
      ? 'An API key is needed. Send the header Authorization: Bearer KEY.'
      : 'The API key is not the one of this server.',
    { code: 'invalid_api_key' },
  );
}

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();

/** On every reply: nothing is guessed from its content, kept by others, or shown in their frames. */
export const SECURITY_HEADERS = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
};
